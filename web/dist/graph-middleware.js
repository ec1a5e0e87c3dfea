// Lets the official Graph client (npm @microsoft/microsoft-graph-client) call through the Cloakroom gateway on this
// page's own origin. No dependency but cloakroom.js beside it, no build step of its own.
//
//   const graph = Client.initWithMiddleware({
//     middleware: [new RetryHandler(), new TelemetryHandler(), new GatewayHandler()],
//   });
//   const me = await graph.api('/me').get();     // the gateway adds the token

import { fetch, problem } from './cloakroom.js';

/**
 * The last member of the client's middleware chain, in the place of its HTTPMessageHandler. A call beneath `base`,
 * absolute links of Graph's answers included, goes to the gateway's route, with the CSRF header. Any other goes where
 * it says: to another origin as it is, since the addresses of upload sessions carry their own proof.
 */
export class GatewayHandler {
  #base;
  #route;

  /**
   * @param {{base?: string, route?: string}} [options] as in the API map: what the gateway stands for, with the version,
   *   and where it is on this page's origin
   */
  constructor({ base = 'https://graph.microsoft.com/v1.0', route = '/graph' } = {}) {
    this.#base = base;
    this.#route = route;
  }

  /** @param {{request: string | Request, options?: RequestInit, response?: Response}} context the client's */
  async execute(context) {
    const { request, options } = context;
    const target = this.#atGateway(typeof request === 'string' ? request : request.url);
    if (target === null) {
      context.response = await fetch(request, options);
      return;
    }
    // What stands in the context stays as it is: a repeated call passes here again.
    const call = typeof request === 'string' ? target : new Request(target, request);
    context.response = await told(await fetch(call, options));
  }

  /** The gateway's address for one of Graph's. The URL is parsed first, so that no `..` leads out of the route. */
  #atGateway(address) {
    const { href } = new URL(address, location.origin);
    return href.startsWith(`${this.#base}/`) ? location.origin + this.#route + href.slice(this.#base.length) : null;
  }
}

/** A refusal of the gateway's in the form of Graph's errors, so that the client's GraphError tells its code. */
async function told(answer) {
  const refusal = await problem(answer);
  if (!refusal) return answer;
  const { code, message, loginUrl, traceId } = refusal;
  const headers = new Headers(answer.headers);
  headers.set('Content-Type', 'application/json');
  const body = { error: { code, message, login_url: loginUrl, trace_id: traceId } };
  return new Response(JSON.stringify(body), { status: answer.status, headers });
}
