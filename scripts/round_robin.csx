// Round robin: each engine in turn, whatever its load. Good to compare others with.

IAsyncEnumerable<Chunk> HandleRequest(Request request) => Fleet.RoundRobin().StartGenerate(request);
