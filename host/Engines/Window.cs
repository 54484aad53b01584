using System.Globalization;

namespace ScriptedServe.Host.Engines;

/// <summary>Positions as routers give them: from the start, or negative from the request's length.</summary>
internal static class Window
{
    /// <summary>The position from the start.</summary>
    /// <param name="what">Names call and argument in the error, as in <c>PrepRecv: end</c>.</param>
    /// <exception cref="ArgumentOutOfRangeException">Not within the request's tokens.</exception>
    public static int Resolve(int position, int length, string what)
    {
        if (position < -length || position > length)
        {
            throw new ArgumentOutOfRangeException(
                nameof(position),
                string.Create(CultureInfo.InvariantCulture, $"{what} = {position} is outside the request's {length} tokens (allowed: {-length} to {length})."));
        }

        return position < 0 ? length + position : position;
    }
}
