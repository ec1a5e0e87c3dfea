// Drives server.mjs as Cloakroom would, with nothing but fetch: node selftest.mjs

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash, createPublicKey, randomBytes, verify } from 'node:crypto';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';

const client = { id: 'cloakroom', secret: 'a secret of the test & more' };
const redirectUri = 'http://localhost:4280/auth/callback';
const postLogoutRedirectUri = 'http://localhost:4280/auth/logout';
const resource = 'https://graph.microsoft.com';
const userRead = `${resource}/User.Read`;

let child;
let metadata;

before(async () => {
  child = spawn(process.execPath, [new URL('server.mjs', import.meta.url).pathname, '0'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: {
      PATH: process.env.PATH,
      CLIENT_ID: client.id,
      CLIENT_SECRET: client.secret,
      REDIRECT_URI: redirectUri,
      POST_LOGOUT_REDIRECT_URI: postLogoutRedirectUri,
      RESOURCE: resource,
      RESOURCE_SCOPES: `${userRead} ${resource}/Mail.Read`,
    },
  });
  const line = await new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).once('line', resolve);
    child.once('exit', (code) => reject(new Error(`ended with ${code}`)));
  });
  assert.match(line, /^ready http:\/\/127\.0\.0\.1:\d+$/);
  const issuer = line.slice('ready '.length);
  metadata = await (await fetch(`${issuer}/.well-known/openid-configuration`)).json();
  assert.equal(metadata.issuer, issuer);
});

after(() => child.kill());

test('metadata has what the gateway relies on', () => {
  assert.equal(metadata.authorization_response_iss_parameter_supported, true);
  assert.deepEqual(metadata.code_challenge_methods_supported, ['S256']);
  assert.deepEqual(metadata.token_endpoint_auth_methods_supported, ['client_secret_basic']);
  assert.ok(metadata.id_token_signing_alg_values_supported.includes('RS256'));
  assert.ok(metadata.end_session_endpoint);
  assert.ok(metadata.revocation_endpoint);
});

test('a code brings signed tokens with the claims that the gateway shows', async () => {
  const { tokens, nonce } = await signIn();
  const id = await opened(tokens.id_token);
  assert.equal(id.nonce, nonce);
  assert.equal(id.aud, client.id);
  assert.equal(id.iss, metadata.issuer);
  assert.equal(id.sub, 'ada.lovelace');
  assert.equal(id.name, 'Ada Lovelace');
  assert.equal(id.preferred_username, 'ada.lovelace@example.test');
  assert.equal(id.email, 'ada.lovelace@example.test');
  assert.match(id.oid, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.match(id.tid, /^[0-9a-f-]{36}$/);
  const access = await opened(tokens.access_token);
  assert.equal(access.aud, resource);
  assert.equal(access.scope, userRead);
  assert.equal(tokens.expires_in, 300);
});

test('without a resource scope the access token is opaque', async () => {
  const { tokens } = await signIn({ scope: 'openid profile' });
  assert.equal(tokens.access_token.split('.').length, 1);
});

test('without offline_access there is a refresh token that offline_access is no scope of', async () => {
  const { tokens } = await signIn({ scope: `openid ${userRead}` });
  const rejected = await refresh(tokens.refresh_token, { scope: `openid offline_access ${userRead}` });
  assert.equal(rejected.body.error, 'invalid_scope');
  assert.equal((await refresh(tokens.refresh_token, { scope: `openid ${userRead}` })).status, 200);
});

test('RFC 8707: a resource that is named works too, an unknown one does not', async () => {
  const { tokens } = await signIn({ extra: { resource } });
  assert.equal((await opened(tokens.access_token)).aud, resource);
  const { callback } = await authorize({ extra: { resource: 'https://elsewhere.example' } });
  assert.equal(callback.searchParams.get('error'), 'invalid_target');
});

test('PKCE is required, and its verifier must fit', async () => {
  const { callback } = await authorize({ extra: { code_challenge: undefined, code_challenge_method: undefined } });
  assert.equal(callback.searchParams.get('error'), 'invalid_request');
  const attempt = await authorize();
  const wrong = await exchangeCode(attempt, { code_verifier: 'x'.repeat(43) });
  assert.equal(wrong.body.error, 'invalid_grant');
});

test('a code works once', async () => {
  const attempt = await authorize();
  assert.equal((await exchangeCode(attempt)).status, 200);
  assert.equal((await exchangeCode(attempt)).body.error, 'invalid_grant');
});

test('a wrong client secret is refused', async () => {
  const answer = await form(metadata.token_endpoint, { grant_type: 'refresh_token', refresh_token: 'x' }, 'wrong');
  assert.equal(answer.status, 401);
  assert.equal(answer.body.error, 'invalid_client');
});

test('refresh tokens rotate, and reuse ends the whole family', async () => {
  const { tokens } = await signIn();
  const second = await refresh(tokens.refresh_token, { scope: `openid offline_access ${userRead}` });
  assert.equal(second.status, 200);
  assert.notEqual(second.body.refresh_token, tokens.refresh_token);
  assert.equal((await opened(second.body.access_token)).aud, resource);
  const reused = await refresh(tokens.refresh_token);
  assert.equal(reused.body.error, 'invalid_grant');
  const after = await refresh(second.body.refresh_token);
  assert.equal(after.body.error, 'invalid_grant');
});

test('a revoked refresh token is worthless', async () => {
  const { tokens } = await signIn();
  assert.ok(tokens.refresh_token);
  const revoked = await form(metadata.revocation_endpoint, { token: tokens.refresh_token });
  assert.equal(revoked.status, 200);
  assert.equal((await refresh(tokens.refresh_token)).body.error, 'invalid_grant');
});

test('cancelling comes back as access_denied, with iss and state', async () => {
  const { callback, state } = await authorize({ form: { cancel: '1' } });
  assert.equal(callback.searchParams.get('error'), 'access_denied');
  assert.equal(callback.searchParams.get('state'), state);
  assert.equal(callback.searchParams.get('iss'), metadata.issuer);
});

test('form_post brings the code in a form', async () => {
  const { callback } = await authorize({ extra: { response_mode: 'form_post' } });
  assert.ok(callback.searchParams.get('code'));
});

test('single sign-on, then sign-out without id_token_hint', async () => {
  const { browser } = await signIn();
  const silent = await authorize({ browser, extra: { prompt: 'none' } });
  assert.ok(silent.callback.searchParams.get('code'));

  const url = new URL(metadata.end_session_endpoint);
  url.search = new URLSearchParams({
    client_id: client.id, logout_hint: 'ada.lovelace', post_logout_redirect_uri: postLogoutRedirectUri, state: 'out',
  });
  const question = await browser.visit(url);
  const answer = await browser.submit(question, { logout: 'yes' });
  assert.equal(answer.location, `${postLogoutRedirectUri}?state=out`);

  const gone = await authorize({ browser, extra: { prompt: 'none' } });
  assert.equal(gone.callback.searchParams.get('error'), 'login_required');
});

// Last, because nothing answers afterwards.
test('it ends when its stdin does', async () => {
  const ended = new Promise((resolve) => { child.once('exit', resolve); });
  child.stdin.end();
  assert.equal(await ended, 0);
});

async function signIn({ scope, extra } = {}) {
  const attempt = await authorize({ scope, extra });
  assert.equal(attempt.callback.searchParams.get('state'), attempt.state);
  assert.equal(attempt.callback.searchParams.get('iss'), metadata.issuer);
  const { status, body } = await exchangeCode(attempt);
  assert.equal(status, 200, JSON.stringify(body));
  return { ...attempt, tokens: body };
}

async function authorize({ scope, extra = {}, form = { login: 'ada.lovelace' }, browser = new Browser() } = {}) {
  const [state, nonce, verifier] = [0, 0, 0].map(() => randomBytes(32).toString('base64url'));
  const parameters = {
    client_id: client.id,
    response_type: 'code',
    redirect_uri: redirectUri,
    scope: scope ?? `openid profile email offline_access ${userRead}`,
    state,
    nonce,
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
    ...extra,
  };
  const url = new URL(metadata.authorization_endpoint);
  for (const [name, value] of Object.entries(parameters)) if (value !== undefined) url.searchParams.set(name, value);
  let page = await browser.visit(url);
  if (!page.location && page.text.includes('id="login"')) page = await browser.submit(page, form);
  // A redirect ends the journey at the client; with form_post it is a page whose form leads there.
  const callback = page.location ? new URL(page.location) : new URL(`${redirectUri}?${fields(page.text)}`);
  assert.ok(callback.href.startsWith(redirectUri), page.text);
  return { callback, state, nonce, verifier, browser };
}

function exchangeCode({ callback, verifier }, extra = {}) {
  return form(metadata.token_endpoint, {
    grant_type: 'authorization_code',
    code: callback.searchParams.get('code'),
    redirect_uri: redirectUri,
    code_verifier: verifier,
    ...extra,
  });
}

function refresh(token, extra = {}) {
  return form(metadata.token_endpoint, { grant_type: 'refresh_token', refresh_token: token, ...extra });
}

async function form(url, parameters, secret = client.secret) {
  const encoded = (text) => new URLSearchParams({ '': text }).toString().slice(1);
  const answer = await fetch(url, {
    method: 'POST',
    headers: { Authorization: `Basic ${btoa(`${encoded(client.id)}:${encoded(secret)}`)}` },
    body: new URLSearchParams(parameters),
  });
  const text = await answer.text();
  return { status: answer.status, body: text ? JSON.parse(text) : null };
}

/** Opens a JWT with the published keys, or throws. */
async function opened(jwt) {
  const [head, body, signature] = jwt.split('.');
  const { kid, alg } = JSON.parse(Buffer.from(head, 'base64url'));
  assert.equal(alg, 'RS256');
  const { keys } = await (await fetch(metadata.jwks_uri)).json();
  const key = createPublicKey({ key: keys.find((candidate) => candidate.kid === kid), format: 'jwk' });
  assert.ok(verify('sha256', Buffer.from(`${head}.${body}`), key, Buffer.from(signature, 'base64url')));
  return JSON.parse(Buffer.from(body, 'base64url'));
}

/** As much of a browser as the journey needs: cookies, redirects within the provider, forms. */
class Browser {
  #cookies = new Map();

  async visit(url, init = {}) {
    let target = new URL(url);
    for (let hop = 0; hop < 10; hop += 1) {
      const answer = await fetch(target, {
        ...init,
        redirect: 'manual',
        headers: { ...init.headers, Accept: 'text/html', Cookie: this.#header(target) },
      });
      for (const line of answer.headers.getSetCookie()) this.#keep(line);
      const location = answer.headers.get('location');
      if (!location) return { url: target, text: await answer.text(), status: answer.status };
      const next = new URL(location, target);
      if (next.origin !== metadata.issuer) return { url: target, location: next.href, text: '' };
      [target, init] = [next, {}];
    }
    throw new Error('too many redirects');
  }

  submit(page, values) {
    const action = page.text.match(/<form[^>]*action="([^"]+)"/)?.[1] ?? page.url;
    const body = new URLSearchParams(fields(page.text));
    for (const [name, value] of Object.entries(values)) body.set(name, value);
    return this.visit(new URL(action, page.url), { method: 'POST', body });
  }

  #header(url) {
    const fits = ([, { path }]) => url.pathname.startsWith(path);
    return [...this.#cookies].filter(fits).map(([, { name, value }]) => `${name}=${value}`).join('; ');
  }

  #keep(line) {
    const [, name, value] = line.match(/^([^=]+)=([^;]*)/);
    const path = line.match(/path=([^;]+)/i)?.[1] ?? '/';
    if (value === '') this.#cookies.delete(`${name} ${path}`);
    else this.#cookies.set(`${name} ${path}`, { name, value, path });
  }
}

function fields(html) {
  const inputs = [...html.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]*)"/g)];
  return new URLSearchParams(inputs.map(([, name, value]) => [name, value]));
}
