// A client for the Cloakroom gateway. No dependency, no build step. Each function is described in cloakroom.d.ts.
//
//   const { authenticated, user } = await session();
//   signIn();
//   const me = await fetch('/graph/me');
//   await signOut();
//
// For a gateway on another origin than the page's: createCloakroom({ origin }).

const CSRF_HEADER = 'X-CSRF';
const LONGEST_RETURN_PATH = 1024;
/** In ms. */
const LONGEST_READ = 30_000;
const PROTOCOLS = ['https:', 'http:'];
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
export function createCloakroom({ origin = globalThis.location?.origin } = {}) {
  const gateway = new URL(origin);
  if (!PROTOCOLS.includes(gateway.protocol)) throw new TypeError('origin must be that of the gateway');
  const isElsewhere = gateway.origin !== globalThis.location?.origin;
  const subscriptions = new Set();
  /** The newest session that was read since the first subscription, and the number of its request. */
  let known = null;
  let newest = 0;
  let requests = 0;
  let reading = null;
  let isOutdated = false;
  let refreshing = null;

  const session = () => read();

  async function read(init) {
    const number = ++requests;
    const found = await readJson(await send(toGateway('/auth/session', init)));
    if (typeof found?.authenticated !== 'boolean') throw new CloakroomError('unexpected');
    // Responses can overtake each other.
    if (number > newest) {
      newest = number;
      known = found;
      subscriptions.forEach((subscription) => report(subscription, found));
    }
    return found;
  }

  function subscribe(listener) {
    const subscription = { listener };
    subscriptions.add(subscription);
    if (subscriptions.size === 1) {
      known = null;
      document.addEventListener('visibilitychange', onVisibilityChange);
    }
    if (known) report(subscription, known);
    else if (!reading || subscriptions.size === 1) readAgain();
    return () => {
      subscriptions.delete(subscription);
      if (!subscriptions.size) document.removeEventListener('visibilitychange', onVisibilityChange);
    };
  }

  function onVisibilityChange() {
    if (document.visibilityState === 'visible') readAgain();
  }

  /** Reads the session for the subscriptions, and once more if called meanwhile. A failure changes nothing. */
  function readAgain() {
    if (!subscriptions.size) return;
    isOutdated = reading !== null;
    reading ??= read({ signal: AbortSignal.timeout(LONGEST_READ) }).catch(() => {}).finally(() => {
      reading = null;
      if (isOutdated) readAgain();
    });
  }

  function report(subscription, found) {
    const user = found.user?.sub ?? null;
    if (subscription.user === user) return;
    subscription.user = user;
    queueMicrotask(() => {
      if (subscriptions.has(subscription)) subscription.listener(found);
    });
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
    const target = url && new URL(url, gateway);
    // It is the provider's, on any host, but never a script.
    if (!PROTOCOLS.includes(target?.protocol)) throw new CloakroomError('unexpected', { status: response.status });
    location.assign(target);
  }

  async function refresh() {
    const response = await send(toGateway('/auth/refresh', { method: 'POST', headers: { [CSRF_HEADER]: '1' } }));
    if (response.ok) return true;
    if (!SESSION_ENDED.includes(codeOf(response))) throw await failure(response);
    readAgain();
    return false;
  }

  async function fetch(input, init) {
    const request = isElsewhere ? requestElsewhere(input, init) : new Request(input, init);
    if (!isOwn(new URL(request.url))) return send(request);
    request.headers.set(CSRF_HEADER, '1');
    const retry = request.clone();
    const response = await send(request);
    const code = codeOf(response);
    if (code === 'session_missing' && known?.authenticated !== false) readAgain();
    if (code !== 'session_expired') return response;
    return (await refreshOnce()) ? send(retry) : response;
  }

  /** Relative addresses are the gateway's. To the gateway with credentials, unless the caller omits them. */
  function requestElsewhere(input, init) {
    const request = new Request(input instanceof Request ? input : new URL(input, gateway), init);
    if (!isOwn(new URL(request.url)) || request.credentials === 'omit') return request;
    // Options make a copy lose its referrer.
    const { referrer, referrerPolicy } = request;
    return new Request(request, { credentials: 'include', referrer, referrerPolicy });
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

  /** Not a `blob:` of the same origin. */
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

let ofPage = null;
const own = (name) => (...values) => (ofPage ??= createCloakroom())[name](...values);

export const session = own('session');
export const subscribe = own('subscribe');
export const signIn = own('signIn');
export const signOut = own('signOut');
export const refresh = own('refresh');
export const fetch = own('fetch');
export const problem = own('problem');

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

/** Whether the gateway takes a path as `return_to`. */
function isReturnPath(path) {
  // The gateway sends a backslash back as three characters.
  return path.replaceAll('\\', '%5C').length <= LONGEST_RETURN_PATH && !path.startsWith('//');
}

async function send(request) {
  try {
    return await globalThis.fetch(request);
  } catch (cause) {
    // Other errors are aborts and timeouts by the caller.
    if (!(cause instanceof TypeError)) throw cause;
    throw new CloakroomError('network', { cause });
  }
}
