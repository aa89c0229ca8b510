/**
 * The admin address: GET /health (200 once all workers listen, else 503) and GET /metrics (Prometheus text).
 * Read-only and without secrets, but meant for loopback or a management network. Failure: other paths are 404.
 */
import { createServer, type Server } from "node:http";

export interface AdminView {
  healthy(): boolean;
  metrics(): string;
}

export function serveAdmin(host: string | undefined, port: number, view: AdminView): Promise<Server> {
  const server = createServer((request, response) => {
    const answer = (status: number, type: string, text: string): void => {
      response.writeHead(status, { "content-type": type, "content-length": Buffer.byteLength(text) }).end(text);
    };
    if (request.method !== "GET" && request.method !== "HEAD") answer(405, "text/plain", "only GET\n");
    else if (request.url === "/health")
      answer(view.healthy() ? 200 : 503, "text/plain", view.healthy() ? "ok\n" : "starting\n");
    else if (request.url === "/metrics") answer(200, "text/plain; version=0.0.4", view.metrics());
    else answer(404, "text/plain", "there is /health and /metrics\n");
  });
  server.headersTimeout = 5_000;
  server.requestTimeout = 10_000;
  server.maxConnections = 50;
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host, port }, () => resolve(server));
  });
}
