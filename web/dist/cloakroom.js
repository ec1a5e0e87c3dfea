// A client for the Cloakroom gateway on this page's own origin. No dependency, no build step.
//
//   const { authenticated, user } = await session();
//   signIn();                                    // comes back to this very address
//   const me = await fetch('/graph/me');         // the gateway adds the token
//   await signOut();

const CSRF_HEADER = 'X-CSRF';
const LONGEST_RETURN_PATH = 1024;
const OVER = ['session_expired', 'session_missing'];

/**
 * @typedef {object} Api
 * @property {string} path where the gateway proxies this API, such as `/graph`
 * @property {'ok' | 'needs_consent' | 'needs_step_up' | 'expired'} status
 * @property {string} [login_url] where to go when `status` is not `ok`
 */

/**
 * @typedef {object} Session
 * @property {boolean} authenticated
 * @property {{sub: string, oid?: string, tid?: string, name?: string, preferred_username?: string,
 *             email?: string | null, roles?: string[]}} [user]
 * @property {{expires_in: number, idle_expires_in: number}} [session] both in seconds
 * @property {Record<string, Api>} [apis]
 * @property {{login: string, logout?: string, refresh?: string}} links
 */

/** What the gateway itself refused or could not do, or that it could not be reached at all. */
export class CloakroomError extends Error {
  /**
   * @param {string} code a code of the gateway, `network`, or `unexpected` for an answer that is not the gateway's
   * @param {{status?: number, title?: string, loginUrl?: string, retryAfter?: number, traceId?: string,
   *          cause?: unknown}} [details] `retryAfter` in seconds
   */
  constructor(code, { status, title, loginUrl, retryAfter, traceId, cause } = {}) {
    super(title ?? code, { cause });
    this.name = 'CloakroomError';
    this.code = code;
    this.status = status;
    this.loginUrl = loginUrl;
    this.retryAfter = retryAfter;
    this.traceId = traceId;
  }
}

/**
 * Who is signed in. Asking does not keep the session alive.
 *
 * @returns {Promise<Session>}
 * @throws {CloakroomError}
 */
export async function session() {
  return jsonOf(await send(new Request('/auth/session')));
}

/**
 * Leaves the page to sign in, and comes back to `returnTo`: path, query and fragment, by default where we are now.
 *
 * @param {{returnTo?: string, api?: string, url?: string}} [options] `api` asks for the consent that one API needs;
 *   `url` is a login address that the gateway gave, such as `CloakroomError.loginUrl`
 */
export function signIn({ returnTo = here(), api, url = '/auth/login' } = {}) {
  const target = new URL(url, location.origin);
  if (api) target.searchParams.set('api', api);
  if (returnTo.length <= LONGEST_RETURN_PATH) target.searchParams.set('return_to', returnTo);
  location.assign(target);
}

/**
 * Ends the session here, then leaves the page to end it at the identity provider.
 *
 * @throws {CloakroomError}
 */
export async function signOut() {
  const answer = await fetch('/auth/logout', { method: 'POST' });
  const { logout_url: url } = await jsonOf(answer);
  location.assign(url);
}

/**
 * Keeps the session alive.
 *
 * @returns {Promise<boolean>} false when the session is over
 * @throws {CloakroomError}
 */
export async function refresh() {
  const answer = await send(guarded(new Request('/auth/refresh', { method: 'POST' })));
  if (!answer.ok && !OVER.includes(codeOf(answer))) throw await failure(answer);
  return answer.ok;
}

/**
 * `window.fetch`, which adds the CSRF header to calls to our own origin. A session that another tab or instance has
 * just renewed looks over for a moment: then the gateway is asked to refresh, and the call is repeated, once.
 *
 * @param {RequestInfo | URL} input
 * @param {RequestInit} [init]
 * @returns {Promise<Response>} errors of the gateway included: see `problem`
 * @throws {CloakroomError} with the code `network`
 */
export async function fetch(input, init) {
  const request = new Request(input, init);
  if (new URL(request.url).origin !== location.origin) return send(request);
  const again = guarded(request).clone();
  const answer = await send(request);
  if (codeOf(answer) !== 'session_expired') return answer;
  return (await refreshOnce()) ? send(again) : answer;
}

/**
 * The gateway's own error in an answer, or null when the answer is the API's, whatever its status.
 *
 * @param {Response} answer its body stays readable
 * @returns {Promise<CloakroomError | null>}
 */
export async function problem(answer) {
  const code = codeOf(answer);
  if (!code) return null;
  const body = await answer.clone().json().catch(() => ({}));
  return new CloakroomError(code, {
    status: answer.status,
    title: body.title,
    loginUrl: body.login_url,
    retryAfter: Number(answer.headers.get('Retry-After')) || undefined,
    traceId: body.trace_id,
  });
}

/**
 * Why the last sign-in failed, if it did: takes `auth_error` out of the address, so that a reload does not repeat it.
 *
 * @returns {string | null} a code
 */
export function takeAuthError() {
  const code = new URLSearchParams(location.search).get('auth_error');
  if (code === null) return null;
  // Not by URLSearchParams, which would write the other parameters anew.
  const others = location.search.slice(1).split('&').filter((pair) => pair.split('=')[0] !== 'auth_error');
  const search = others.length > 0 ? `?${others.join('&')}` : '';
  history.replaceState(history.state, '', location.pathname + search + location.hash);
  return code;
}

function here() {
  return location.pathname + location.search + location.hash;
}

function guarded(request) {
  request.headers.set(CSRF_HEADER, '1');
  return request;
}

function codeOf(answer) {
  return answer.ok ? null : answer.headers.get('Cloakroom-Error');
}

async function send(request) {
  try {
    return await window.fetch(request);
  } catch (cause) {
    // An abort or a timeout is the caller's own doing.
    if (!(cause instanceof TypeError)) throw cause;
    throw new CloakroomError('network', { cause });
  }
}

async function jsonOf(answer) {
  if (!answer.ok) throw await failure(answer);
  try {
    return await answer.json();
  } catch (cause) {
    throw new CloakroomError('unexpected', { status: answer.status, cause });
  }
}

async function failure(answer) {
  return (await problem(answer)) ?? new CloakroomError('unexpected', { status: answer.status });
}

let refreshing = null;

/** Calls that fail together share one refresh. */
function refreshOnce() {
  refreshing ??= refresh().catch(() => false).finally(() => { refreshing = null; });
  return refreshing;
}
