// Lets the official Graph client (npm @microsoft/microsoft-graph-client) call Graph through the Cloakroom gateway on this
// page's own origin. Depends only on cloakroom.js in the same folder; no build step.
//
//   const graph = Client.initWithMiddleware({
//     middleware: [new RetryHandler(), new TelemetryHandler(), new GatewayHandler()],
//   });
//   const me = await graph.api('/me').get();     // the gateway adds the token

import { fetch, problem } from './cloakroom.js';

/**
 * The last handler of the client's middleware chain, instead of its HTTPMessageHandler. A call under `base`, absolute
 * links in Graph's responses included, is sent to the gateway's route with the CSRF header. Other calls are unchanged:
 * the URLs of upload sessions, for instance, are on another origin and carry their own authorization.
 */
export class GatewayHandler {
  #base;
  #route;

  /**
   * @param {{base?: string, route?: string}} [options] `base` and `route` of the API map
   */
  constructor({ base = 'https://graph.microsoft.com/v1.0', route = '/graph' } = {}) {
    this.#base = base;
    this.#route = route;
  }

  /** @param {{request: string | Request, options?: RequestInit, response?: Response}} context of the Graph client */
  async execute(context) {
    const { request, options } = context;
    const target = this.#atGateway(typeof request === 'string' ? request : request.url);
    if (target === null) {
      // A link in a response must not aim the page, with its CSRF header, at another API of the gateway.
      context.response = await window.fetch(request, options);
      return;
    }
    // The context is not changed, because a retried call passes here again.
    const call = typeof request === 'string' ? target : new Request(target, request);
    context.response = await asGraphError(await fetch(call, options));
  }

  /** The gateway's URL for one of Graph, else null. It is parsed first, so that no `..` leaves the route. */
  #atGateway(address) {
    const { href } = new URL(address, location.origin);
    return href.startsWith(`${this.#base}/`) ? location.origin + this.#route + href.slice(this.#base.length) : null;
  }
}

/** An error of the gateway in the form of Graph's errors, so that the client's GraphError has its code. */
async function asGraphError(response) {
  const error = await problem(response);
  if (!error) return response;
  const { code, message, loginUrl, traceId } = error;
  const headers = new Headers(response.headers);
  headers.set('Content-Type', 'application/json');
  const body = { error: { code, message, login_url: loginUrl, trace_id: traceId } };
  return new Response(JSON.stringify(body), { status: response.status, headers });
}
