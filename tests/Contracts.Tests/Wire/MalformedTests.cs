using System.Net;
using System.Net.Http.Headers;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Logging;
using ScriptedServe.Contracts.V1;
using ScriptedServe.Contracts.Wire;
using ScriptedServe.Contracts.Wire.Server;
using static ScriptedServe.Contracts.Tests.Wire.WireTesting;

namespace ScriptedServe.Contracts.Tests.Wire;

/// <summary>Requests and responses that are not what the protocol says.</summary>
public class MalformedTests
{
    private const string GetStatus = EngineMethods.GetStatus;

    [Theory]
    [InlineData("no message", "", RpcStatus.InvalidArgument, "no message")]
    [InlineData("half a header", "0000", RpcStatus.InvalidArgument, "in the middle of a message")]
    [InlineData("half a message", "0000000005 0801", RpcStatus.InvalidArgument, "in the middle of a message")]
    [InlineData("two messages", "0000000000 0000000000", RpcStatus.InvalidArgument, "more than one message")]
    [InlineData("compressed", "0100000000", RpcStatus.Unimplemented, "compressed")]
    [InlineData("unknown flags", "0700000000", RpcStatus.InvalidArgument, "flags 7")]
    [InlineData("4 GiB announced", "00ffffffff", RpcStatus.ResourceExhausted, "4294967295 bytes; the limit is 16777216 (fixed: no setting changes it)")]
    [InlineData("no protobuf", "0000000003 0affff", RpcStatus.InvalidArgument, "not a AbortRequest")]
    public async Task A_malformed_request_gets_a_status_that_says_what_is_wrong(string what, string body, RpcStatus status, string words)
    {
        await using var server = await ServeAsync(new ScriptedEngine());
        using var http = new HttpMessageInvoker(new SocketsHttpHandler());

        using var response = await PostAsync(http, server.Address, EngineMethods.Abort, Convert.FromHexString(body.Replace(" ", "", StringComparison.Ordinal)));

        Assert.True(HttpStatusCode.OK == response.StatusCode, what);
        Assert.Equal("application/grpc", response.Content.Headers.ContentType?.MediaType);
        Assert.Equal(((int)status).ToString(System.Globalization.CultureInfo.InvariantCulture), response.Headers.GetValues("grpc-status").Single());
        Assert.Contains(words, StatusMessage.Decode(response.Headers.GetValues("grpc-message").Single()));

        using var client = Call(server.Address);
        Assert.NotNull(await client.GetStatusAsync(new(), CancellationToken.None).Within());
    }

    [Theory]
    [InlineData("POST", GetStatus, "application/json", null, 415, null)]
    [InlineData("POST", GetStatus, "application/grpc-web", null, 415, null)]
    [InlineData("POST", GetStatus, "application/grpc+proto", null, 200, "0")]
    [InlineData("POST", GetStatus, "application/grpc", "soon", 200, "3")]
    [InlineData("POST", GetStatus, "application/grpc", "0n", 200, "4")]
    [InlineData("POST", GetStatus, "application/grpc", "99999999H", 200, "0")]
    [InlineData("POST", "/scriptedserve.v1.Engine/Nothing", "application/grpc", null, 200, "12")]
    [InlineData("POST", "/other.Service/Method", "application/grpc", null, 200, "12")]
    [InlineData("POST", "/other.Service/Method", "text/plain", null, 404, null)]
    [InlineData("GET", GetStatus, "application/grpc", null, 405, null)]
    public async Task What_is_no_call_of_this_service_is_answered_by_the_protocols_rules(string verb, string path, string contentType, string? timeout, int httpStatus, string? grpcStatus)
    {
        await using var server = await ServeAsync(new ScriptedEngine());
        using var http = new HttpMessageInvoker(new SocketsHttpHandler());

        using var response = await PostAsync(http, server.Address, path, new byte[5], contentType, timeout, verb);
        await response.Content.ReadAsByteArrayAsync();

        Assert.Equal(httpStatus, (int)response.StatusCode);
        Assert.Equal(grpcStatus, response.Headers.Concat(response.TrailingHeaders).FirstOrDefault(h => h.Key == "grpc-status").Value?.Single());
    }

    [Fact]
    public async Task Whatever_a_server_answers_the_client_fails_with_a_status()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.ListenEngine(AnyPort));
        await using var app = builder.Build();
        var reply = Framed(new EngineStatus { EngineId = "x" });
        Func<HttpContext, Task> answer = _ => Task.CompletedTask;
        app.Run(context => answer(context));
        await app.StartAsync();
        var address = EngineAddress.Parse(app.Urls.Single());

        (string What, Func<HttpContext, Task> Answer, RpcStatus Status, string Words)[] cases =
        [
            ("an HTML error page", Html(502), RpcStatus.Unavailable, "HTTP status 502"),
            ("not found", Html(404), RpcStatus.Unimplemented, "HTTP status 404"),
            ("forbidden", Html(403), RpcStatus.PermissionDenied, "HTTP status 403"),
            ("unauthorised", Html(401), RpcStatus.Unauthenticated, "HTTP status 401"),
            ("a teapot", Html(418), RpcStatus.Unknown, "HTTP status 418"),
            ("a web page", Html(200), RpcStatus.Unknown, "text/html"),
            ("a reply and no trailers", Grpc(reply, null), RpcStatus.Internal, "without a gRPC status"),
            ("OK and no reply", Grpc([], "0"), RpcStatus.Internal, "no reply"),
            ("OK in the headers alone", context => { context.Response.ContentType = "application/grpc"; context.Response.Headers["grpc-status"] = "0"; return Task.CompletedTask; }, RpcStatus.Internal, "no reply"),
            ("two replies", Grpc([.. reply, .. reply], "0"), RpcStatus.Internal, "more than one reply"),
            ("half a reply", Grpc(reply[..^1], "0"), RpcStatus.Internal, "in the middle of a message"),
            ("a compressed reply", Grpc([1, .. reply[1..]], "0"), RpcStatus.Internal, "compressed"),
            ("nonsense for a reply", Grpc([0, 0, 0, 0, 3, 10, 255, 255], "0"), RpcStatus.Internal, "not a EngineStatus"),
            ("an unknown status", Grpc([], "77"), RpcStatus.Unknown, "without a message"),
            ("REFUSED_STREAM", Reset(7), RpcStatus.Unavailable, "cut off"),
            ("CANCEL", Reset(8), RpcStatus.Cancelled, "cut off"),
            ("INTERNAL_ERROR", Reset(2), RpcStatus.Internal, "cut off"),
            ("ENHANCE_YOUR_CALM", Reset(11), RpcStatus.ResourceExhausted, "cut off"),
        ];
        foreach (var (what, how, status, words) in cases)
        {
            answer = how;
            using var client = Call(address);
            var failure = await FailsAsync(client.GetStatusAsync(new(), CancellationToken.None));
            Assert.True((status, true) == (failure.Status, failure.Message.Contains(words, StringComparison.Ordinal)), $"{what}: {failure.Status} {failure.Message}");
        }

        static Func<HttpContext, Task> Html(int status) => context =>
        {
            context.Response.StatusCode = status;
            context.Response.ContentType = "text/html";
            return context.Response.WriteAsync("<p>hello");
        };

        static Func<HttpContext, Task> Grpc(byte[] body, string? status) => async context =>
        {
            context.Response.ContentType = "application/grpc";
            await context.Response.StartAsync();
            await context.Response.Body.WriteAsync(body);
            if (status is not null)
            {
                context.Response.AppendTrailer("grpc-status", status);
            }
        };

        static Func<HttpContext, Task> Reset(int code) => context =>
        {
            context.Features.Get<IHttpResetFeature>()!.Reset(code);
            return Task.CompletedTask;
        };
    }

    private static byte[] Framed(EngineStatus message)
    {
        var bytes = new System.Buffers.ArrayBufferWriter<byte>();
        MessageFrames.Write(bytes, message);
        return bytes.WrittenSpan.ToArray();
    }

    private static async Task<HttpResponseMessage> PostAsync(
        HttpMessageInvoker http, EngineAddress address, string path, byte[] body, string contentType = "application/grpc", string? timeout = null, string verb = "POST")
    {
        var request = new HttpRequestMessage(new HttpMethod(verb), new Uri($"{address}{path}"))
        {
            Version = HttpVersion.Version20,
            VersionPolicy = HttpVersionPolicy.RequestVersionExact,
            Content = new ByteArrayContent(body) { Headers = { ContentType = new MediaTypeHeaderValue(contentType) } },
        };
        if (timeout is not null)
        {
            request.Headers.Add("grpc-timeout", timeout);
        }

        return await http.SendAsync(request, CancellationToken.None).Within();
    }
}
