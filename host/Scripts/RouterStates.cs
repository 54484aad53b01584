using System.Collections.Concurrent;
using ScriptedServe.Scripting;

namespace ScriptedServe.Host.Scripts;

/// <summary>The State of every router name. It lives as long as the host.</summary>
public sealed class RouterStates
{
    private readonly ConcurrentDictionary<string, RouterState> _byName = new(StringComparer.Ordinal);

    /// <summary>The one State of all versions of a name.</summary>
    public RouterState For(string name) => _byName.GetOrAdd(name, static _ => new Values());

    private sealed class Values : RouterState
    {
        private readonly Lock _lock = new();
        private readonly Dictionary<string, object> _values = new(StringComparer.Ordinal);

        public override T GetOrAdd<T>(string name, Func<T> create)
        {
            lock (_lock)
            {
                if (!_values.TryGetValue(name, out var value))
                {
                    // Entered by one thread only, so create runs once; it may itself use State.
                    value = Checked(name, typeof(T), create());
                    _values[name] = value;
                }

                return value is T typed
                    ? typed
                    : throw new InvalidOperationException($"State \"{name}\" holds a {value.GetType().Name}, not a {typeof(T).Name}: use another name, or Remove it first");
            }
        }

        public override void Set<T>(string name, T value)
        {
            var kept = Checked(name, typeof(T), value);
            lock (_lock)
            {
                _values[name] = kept;
            }
        }

        public override void Remove(string name)
        {
            lock (_lock)
            {
                _values.Remove(name);
            }
        }

        private static object Checked(string name, Type declared, object? value)
        {
            if (value is null)
            {
                throw new ArgumentNullException(nameof(value), $"State \"{name}\" cannot be null; use Remove");
            }

            return (CollectibleTypes.FindIn(declared) ?? CollectibleTypes.FindIn(value)) is { } culprit
                ? throw new ArgumentException(
                    $"State \"{name}\" would keep this version of the script loaded, because {culprit.Name} is defined in it: keep numbers, strings and collections of them",
                    nameof(value))
                : value;
        }
    }
}

/// <summary>Finds types that belong to a load context that should be able to end.</summary>
internal static class CollectibleTypes
{
    /// <summary>A collectible type in a type's make-up (element, type arguments, containers), or null.</summary>
    public static Type? FindIn(Type type)
    {
        if (type.HasElementType)
        {
            return FindIn(type.GetElementType()!);
        }

        // A constructed type counts as collectible if an argument is; name the argument.
        foreach (var argument in type.GetGenericArguments())
        {
            if (FindIn(argument) is { } culprit)
            {
                return culprit;
            }
        }

        return type.IsCollectible ? type : null;
    }

    /// <summary>As for types, on a value's own type; a delegate counts by its method and target, a collection by its present items.</summary>
    public static Type? FindIn(object value)
    {
        if (FindIn(value.GetType()) is { } culprit)
        {
            return culprit;
        }

        return value switch
        {
            Delegate call => call.GetInvocationList()
                .Select(single => (single.Method.DeclaringType is { } owner ? FindIn(owner) : null) ?? (single.Target is { } target ? FindIn(target.GetType()) : null))
                .FirstOrDefault(found => found is not null),
            string => null,
            System.Collections.ICollection items => items.Cast<object?>()
                .Where(item => item is not null && !item.GetType().IsPrimitive)
                .Select(item => FindIn(item!.GetType()))
                .FirstOrDefault(found => found is not null),
            _ => null,
        };
    }
}
