// Data parallel: every engine does the whole job; each request goes to the engine with the least to do.
// The simplest router, and the default. Edit and save: the next request is served by the new text.

IAsyncEnumerable<Chunk> HandleRequest(Request request) => Fleet.LeastLoaded().StartGenerate(request);
