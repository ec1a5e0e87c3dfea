// A client for the Cloakroom gateway. No dependency, no build step. Its types are in cloakroom.d.ts.
//
//   const { authenticated, user } = await session();
//   signIn();                                    // returns to the current address
//   const me = await fetch('/graph/me');         // the gateway adds the token
//   await signOut();
//
// They are for a gateway on the page's own origin. For another one: createCloakroom({ origin }).

const CSRF_HEADER = 'X-CSRF';
const LONGEST_RETURN_PATH = 1024;
const SESSION_ENDED = ['session_expired', 'session_missing'];

/** An error of the gateway itself, or that it cannot be reached. */
export class CloakroomError extends Error {
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

/** The functions for one gateway. */
export function createCloakroom({ origin = location.origin } = {}) {
  const gateway = new URL(origin);
  if (!['https:', 'http:'].includes(gateway.protocol)) throw new TypeError('origin must be that of the gateway');
  const isElsewhere = gateway.origin !== location.origin;
  const listeners = new Set();
  let known = null;
  let refreshing = null;

  async function session() {
    const found = await readJson(await send(toGateway('/auth/session')));
    const isChanged = found.authenticated !== known?.authenticated || found.user?.sub !== known?.user?.sub;
    known = found;
    if (isChanged) listeners.forEach((listener) => queueMicrotask(() => listener(found)));
    return found;
  }

  function subscribe(listener) {
    listeners.add(listener);
    document.addEventListener('visibilitychange', look);
    if (known) queueMicrotask(() => listener(known));
    else notice();
    return () => {
      listeners.delete(listener);
      if (!listeners.size) document.removeEventListener('visibilitychange', look);
    };
  }

  function look() {
    if (document.visibilityState === 'visible') notice();
  }

  /** Reads the session for those who subscribed. A failure changes nothing. */
  function notice() {
    if (listeners.size) session().catch(() => {});
  }

  function signIn({ returnTo = currentAddress(), api, url = '/auth/login' } = {}) {
    const target = new URL(url, gateway);
    if (!isOwn(target)) throw new TypeError('url must be on the origin of the gateway');
    if (api) target.searchParams.set('api', api);
    if (isReturnPath(returnTo)) target.searchParams.set('return_to', returnTo);
    location.assign(target);
  }

  async function signOut() {
    const response = await fetch(new URL('/auth/logout', gateway), { method: 'POST' });
    const { logout_url: url } = await readJson(response);
    const target = new URL(url, gateway);
    // It is the provider's, on any host, but never a script.
    if (!['https:', 'http:'].includes(target.protocol)) throw new CloakroomError('unexpected');
    location.assign(target);
  }

  async function refresh() {
    const response = await send(toGateway('/auth/refresh', { method: 'POST', headers: { [CSRF_HEADER]: '1' } }));
    if (response.ok) return true;
    if (!SESSION_ENDED.includes(codeOf(response))) throw await failure(response);
    notice();
    return false;
  }

  async function fetch(input, init) {
    const address = isElsewhere && !(input instanceof Request) ? new URL(input, gateway) : input;
    const request = new Request(address, init);
    if (!isOwn(new URL(request.url))) return send(request);
    request.headers.set(CSRF_HEADER, '1');
    const own = isElsewhere ? new Request(request, { credentials: 'include' }) : request;
    const retry = own.clone();
    const response = await send(own);
    if (codeOf(response) !== 'session_expired') return response;
    return (await refreshOnce()) ? send(retry) : response;
  }

  async function problem(response) {
    const code = codeOf(response);
    if (!code) return null;
    const body = await response.clone().json().catch(() => ({}));
    return new CloakroomError(code, {
      status: response.status,
      title: body.title,
      loginUrl: body.login_url,
      retryAfter: Number(response.headers.get('Retry-After')) || undefined,
      traceId: body.trace_id,
    });
  }

  function toGateway(path, init) {
    return new Request(new URL(path, gateway), isElsewhere ? { credentials: 'include', ...init } : init);
  }

  function codeOf(response) {
    if (response.ok || !response.url || !isOwn(new URL(response.url))) return null;
    return response.headers.get('Cloakroom-Error');
  }

  /** An origin is that of `https:` or `http:`, so script URLs are not own. */
  function isOwn(url) {
    return url.origin === gateway.origin && url.protocol === gateway.protocol;
  }

  async function readJson(response) {
    if (!response.ok) throw await failure(response);
    try {
      return await response.json();
    } catch (cause) {
      throw new CloakroomError('unexpected', { status: response.status, cause });
    }
  }

  async function failure(response) {
    return (await problem(response)) ?? new CloakroomError('unexpected', { status: response.status });
  }

  /** Concurrent calls share one refresh. */
  function refreshOnce() {
    refreshing ??= refresh().catch(() => false).finally(() => { refreshing = null; });
    return refreshing;
  }

  return { session, subscribe, signIn, signOut, refresh, fetch, problem, takeAuthError };
}

export const { session, subscribe, signIn, signOut, refresh, fetch, problem } = createCloakroom();

export function takeAuthError() {
  const address = new URL(location.href);
  const code = address.searchParams.get('auth_error');
  if (code === null && !address.href.endsWith('#')) return null;
  // Not with URLSearchParams, which would change the encoding of the other parameters.
  const others = address.search.slice(1).split('&').filter((pair) => pair && pair.split('=')[0] !== 'auth_error');
  address.search = others.join('&');
  if (!address.hash) address.hash = '';
  // With its origin, since a path that begins with `//` would name another host.
  history.replaceState(history.state, '', address);
  return code;
}

function currentAddress() {
  return location.pathname + location.search + location.hash;
}

/** Whether the gateway takes a path as `return_to`. Without one a sign-in ends at the page that it is configured for. */
function isReturnPath(path) {
  // The gateway sends a backslash back as three characters.
  return path.replaceAll('\\', '%5C').length <= LONGEST_RETURN_PATH && !path.startsWith('//');
}

async function send(request) {
  try {
    return await window.fetch(request);
  } catch (cause) {
    // Other errors are aborts and timeouts by the caller.
    if (!(cause instanceof TypeError)) throw cause;
    throw new CloakroomError('network', { cause });
  }
}
