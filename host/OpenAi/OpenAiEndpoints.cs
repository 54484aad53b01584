using System.Globalization;
using Microsoft.Extensions.DependencyInjection.Extensions;
using ScriptedServe.Contracts.Wire.Server;
using ScriptedServe.Host.Requests;
using ScriptedServe.Host.Text;

namespace ScriptedServe.Host.OpenAi;

/// <summary>The OpenAI-compatible API under <c>/v1</c>.</summary>
public static class OpenAiEndpoints
{
    /// <summary>
    /// Registers the API. It also needs <see cref="ModelFacts"/>, <see cref="ITokenizer"/>, <see cref="IRequestRunner"/> and logging;
    /// <see cref="IChatTemplate"/> (without one, chat is refused), <see cref="TimeProvider"/> and <see cref="RandomBits"/> are used where registered.
    /// </summary>
    public static IServiceCollection AddOpenAi(this IServiceCollection services, OpenAiOptions options)
    {
        services.TryAddSingleton(TimeProvider.System);
        services.TryAddSingleton<RandomBits>(new SystemRandomBits().Next);
        services.AddSingleton(options);
        services.AddSingleton(provider => new OpenAiService(
            provider.GetRequiredService<ModelFacts>(),
            options,
            provider.GetRequiredService<ITokenizer>(),
            provider.GetRequiredService<IRequestRunner>(),
            provider.GetService<IChatTemplate>(),
            provider.GetRequiredService<TimeProvider>(),
            provider.GetRequiredService<RandomBits>(),
            provider.GetRequiredService<ILogger<OpenAiService>>()));
        return services;
    }

    /// <summary>Maps the API's routes, and an OpenAI error object for any other route under <c>/v1</c>.</summary>
    public static IEndpointRouteBuilder MapOpenAi(this IEndpointRouteBuilder endpoints)
    {
        var services = endpoints.ServiceProvider;
        var api = services.GetRequiredService<OpenAiService>();
        var key = services.GetRequiredService<OpenAiOptions>().ApiKey is { } secret ? new BearerToken(secret) : null;

        Map("/v1/completions", HttpMethods.Post, api.CompleteAsync);
        Map("/v1/chat/completions", HttpMethods.Post, api.ChatAsync);
        Map("/v1/models", HttpMethods.Get, (context, _) => api.ListModelsAsync(context));
        Map("/v1/models/{**id}", HttpMethods.Get, (context, _) => api.GetModelAsync(context));
        Map("/v1/{**path}", null, (context, _) => throw new OpenAiException(404, $"There is nothing at {context.Request.Method} {context.Request.Path}.", code: "unknown_url"));
        return endpoints;

        void Map(string route, string? method, Func<HttpContext, string, Task> handle) => endpoints.Map(route, async context =>
        {
            var requestId = api.NewId("req-");
            context.Response.Headers["X-Request-Id"] = requestId;
            try
            {
                if (key?.Accepts(context.Request.Headers.Authorization) == false)
                {
                    throw new OpenAiException(401, "The API key is missing or wrong; send it as 'Authorization: Bearer <key>'.", code: "invalid_api_key");
                }

                if (method is not null && context.Request.Method != method)
                {
                    throw new OpenAiException(405, $"{context.Request.Path} takes {method}, not {context.Request.Method}.", code: "method_not_allowed") { Allow = method };
                }

                await handle(context, requestId);
            }
            catch (Exception) when (context.RequestAborted.IsCancellationRequested)
            {
                // The client is gone; what the request held has been released.
            }
            catch (Exception e) when (!context.Response.HasStarted)
            {
                await WriteErrorAsync(context, api.Describe(e, requestId));
            }
        });
    }

    private static Task WriteErrorAsync(HttpContext context, OpenAiException error)
    {
        context.Response.StatusCode = error.Status;
        if (error.RetryAfter is { } wait)
        {
            context.Response.Headers.RetryAfter = Math.Max(1, (long)Math.Ceiling(wait.TotalSeconds)).ToString(CultureInfo.InvariantCulture);
        }

        if (error.Allow is not null)
        {
            context.Response.Headers.Allow = error.Allow;
        }

        if (error.Status == StatusCodes.Status401Unauthorized)
        {
            context.Response.Headers.WWWAuthenticate = "Bearer";
        }

        return OpenAiService.WriteJsonAsync(context, error.WriteTo);
    }
}
