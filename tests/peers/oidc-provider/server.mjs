// node-oidc-provider with one confidential client, for Cloakroom's tests. Not for anything else: any login name is
// accepted and there is no password.
//
//   node server.mjs [port]      prints "ready http://127.0.0.1:PORT", then what happens; ends with stdin or on SIGTERM

import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';

const settings = settingsFrom(process.env);

// The library greets with warnings about its own defaults and about older runtimes; stderr is for faults only.
console.info = console.warn = () => {};
const { Provider, errors } = await import('oidc-provider');

const server = createServer();
server.listen(Number(process.argv[2] ?? process.env.PORT ?? 0), '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, configuration(settings));
  provider.on('server_error', (_ctx, error) => console.error(error));
  provider.on('backchannel.success', (_ctx, _client, _account, sid) => console.log(`logged out ${sid}`));
  provider.on('backchannel.error', (_ctx, error) => console.log(`not logged out: ${error.message}`));
  provider.on('grant.revoked', () => console.log('grant revoked'));
  provider.on('grant.success', ({ oidc: { params } }) => {
    if (params.grant_type === 'refresh_token') console.log(`refresh for ${params.scope}`);
  });
  server.on('request', handler(provider));
  console.log(`ready ${issuer}`);
});

process.stdin.resume().on('end', () => process.exit(0));
process.on('SIGTERM', () => process.exit(0));

function settingsFrom(env) {
  const required = ['CLIENT_ID', 'CLIENT_SECRET', 'REDIRECT_URI', 'POST_LOGOUT_REDIRECT_URI'];
  const missing = required.filter((name) => !env[name]);
  if (missing.length > 0) {
    console.error(`missing: ${missing.join(', ')}`);
    process.exit(64);
  }
  return {
    clientId: env.CLIENT_ID,
    clientSecret: env.CLIENT_SECRET,
    clientAuth: env.CLIENT_AUTH ?? 'client_secret_basic',
    redirectUri: env.REDIRECT_URI,
    postLogoutRedirectUri: env.POST_LOGOUT_REDIRECT_URI,
    backchannelLogoutUri: env.BACKCHANNEL_LOGOUT_URI,
    logoutTokensHaveSid: env.LOGOUT_TOKENS_HAVE_SID !== '0',
    resource: env.RESOURCE,
    resourceScopes: (env.RESOURCE_SCOPES ?? '').split(' ').filter(Boolean),
    accessTokenTtl: Number(env.ACCESS_TOKEN_TTL ?? 300),
    tenant: env.TENANT ?? '9188040d-6c67-4c5b-b112-36a304b66dad',
    strictOffline: env.STRICT_OFFLINE === '1',
  };
}

function configuration(settings) {
  return {
    clients: [{
      client_id: settings.clientId,
      client_secret: settings.clientSecret,
      token_endpoint_auth_method: settings.clientAuth,
      redirect_uris: [settings.redirectUri],
      post_logout_redirect_uris: [settings.postLogoutRedirectUri],
      ...(settings.backchannelLogoutUri && {
        backchannel_logout_uri: settings.backchannelLogoutUri,
        backchannel_logout_session_required: settings.logoutTokensHaveSid,
      }),
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      id_token_signed_response_alg: 'RS256',
    }],
    clientAuthMethods: [settings.clientAuth],
    // The library's dispatcher rejects loopback addresses, where the gateway under test is.
    fetch: (url, { dispatcher: _dispatcher, ...options }) => globalThis.fetch(url, options),
    jwks: { keys: [signingKey()] },
    cookies: { keys: [randomBytes(32).toString('base64url')] },
    pkce: { required: () => true },
    rotateRefreshToken: true,
    // Refresh tokens live on after the provider's own session, as `offline_access` says.
    expiresWithSession: () => false,
    // Without `offline_access` too, as many providers do: then a refresh that names it is `invalid_scope`.
    issueRefreshToken: (_ctx, client) => client.grantTypeAllowed('refresh_token'),
    // Without this, profile and email claims would come from the userinfo endpoint only.
    conformIdTokenClaims: false,
    claims: {
      openid: ['sub', 'oid', 'tid'],
      profile: ['name', 'preferred_username'],
      email: ['email', 'email_verified'],
    },
    findAccount: (_ctx, login) => ({ accountId: login, claims: () => claimsOf(login, settings.tenant) }),
    interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
    features: {
      devInteractions: { enabled: false },
      backchannelLogout: { enabled: Boolean(settings.backchannelLogoutUri) },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: (ctx, form) => {
          ctx.body = page('Sign out?', `${form}
            <button id="submit" type="submit" form="op.logoutForm" name="logout" value="yes">Sign out</button>`);
        },
        postLogoutSuccessSource: (ctx) => { ctx.body = page('Signed out', ''); },
      },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: Boolean(settings.resource),
        defaultResource: (ctx, _client, oneOf) => oneOf
          ? settings.resource
          : asksForResource(ctx, settings) ? settings.resource : [],
        useGrantedResource: () => true,
        getResourceServerInfo: (_ctx, resource) => {
          if (resource !== settings.resource) throw new errors.InvalidTarget();
          return {
            scope: settings.resourceScopes.join(' '),
            audience: settings.resource,
            accessTokenTTL: settings.accessTokenTtl,
            accessTokenFormat: 'jwt',
            jwt: { sign: { alg: 'RS256' } },
          };
        },
      },
    },
    ttl: {
      AccessToken: (_ctx, token) => token.resourceServer?.accessTokenTTL ?? settings.accessTokenTtl,
      AuthorizationCode: 60,
      Grant: 86_400,
      IdToken: 3_600,
      Interaction: 600,
      RefreshToken: 86_400,
      Session: 86_400,
    },
    renderError: (ctx, out) => {
      ctx.type = 'html';
      ctx.body = page('Error', `<p id="error">${escaped(out.error)}: ${escaped(out.error_description ?? '')}</p>`);
    },
  };
}

function asksForResource(ctx, settings) {
  const asked = (ctx.oidc.params.scope ?? '').split(' ');
  return settings.resourceScopes.some((scope) => asked.includes(scope));
}

function signingKey() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), alg: 'RS256', use: 'sig', kid: randomBytes(8).toString('hex') };
}

/** The same person gets the same claims in every run. */
function claimsOf(login, tid) {
  const hex = createHash('sha256').update(login).digest('hex');
  const oid = hex.replace(/^(.{8})(.{4}).(.{3}).(.{3})(.{12}).*$/, '$1-$2-4$3-8$4-$5');
  const address = login.includes('@') ? login : `${login}@example.test`;
  const words = login.replace(/@.*/, '').split(/[._-]+/);
  const name = words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join(' ');
  return { sub: login, oid, tid, name, preferred_username: address, email: address, email_verified: true };
}

function handler(provider) {
  const protocol = provider.callback();
  return async (request, response) => {
    try {
      const { pathname } = new URL(request.url, provider.issuer);
      console.log(`${request.method} ${pathname}`);
      if (pathname.startsWith('/interaction/')) {
        await interact(provider, request, response);
        return;
      }
      if (pathname === '/auth' && !settings.strictOffline) request.url = withConsent(request.url);
      protocol(request, response);
    } catch (error) {
      // Nearly always a form that outlived its cookie.
      response.writeHead(400, { 'Content-Type': 'text/plain; charset=utf-8' }).end(error.message);
    }
  };
}

/**
 * OpenID Connect lets `offline_access` count only beside `prompt=consent`, unless the provider has other grounds. Most
 * providers have them; this makes the library one of those. `STRICT_OFFLINE=1` leaves its own rule in force.
 */
function withConsent(target) {
  const [path, query = ''] = target.split('?');
  const parameters = new URLSearchParams(query);
  const offline = (parameters.get('scope') ?? '').split(' ').includes('offline_access');
  const prompts = (parameters.get('prompt') ?? '').split(' ').filter(Boolean);
  if (!offline || prompts.includes('none') || prompts.includes('consent')) return target;
  parameters.set('prompt', [...prompts, 'consent'].join(' '));
  return `${path}?${parameters}`;
}

/** A login form for people and for clients that only know forms; consent is granted without a question. */
async function interact(provider, request, response) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(request, response);
  if (prompt.name === 'consent') {
    const grant = await grantFor(provider, { prompt, params, session, grantId });
    const result = { consent: { grantId: grant } };
    await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: true });
    return;
  }
  if (request.method !== 'POST') {
    response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8', 'Cache-Control': 'no-store' });
    response.end(loginPage(params.login_hint ?? ''));
    return;
  }
  const form = await formOf(request);
  const login = form.get('login')?.trim();
  const result = form.has('cancel') || !login
    ? { error: 'access_denied', error_description: 'the user turned back' }
    : { login: { accountId: login, amr: ['pwd'] } };
  await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
}

async function grantFor(provider, { prompt, params, session, grantId }) {
  const known = grantId ? await provider.Grant.find(grantId) : undefined;
  const grant = known ?? new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  const { missingOIDCScope, missingOIDCClaims, missingResourceScopes } = prompt.details;
  if (missingOIDCScope) grant.addOIDCScope(missingOIDCScope.join(' '));
  if (missingOIDCClaims) grant.addOIDCClaims(missingOIDCClaims);
  for (const [resource, scopes] of Object.entries(missingResourceScopes ?? {})) {
    grant.addResourceScope(resource, scopes.join(' '));
  }
  return grant.save();
}

async function formOf(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return new URLSearchParams(Buffer.concat(chunks).toString('utf8'));
}

function loginPage(hint) {
  return page('Sign in', `<form method="post">
    <p><label for="login">Login name</label>
    <input id="login" name="login" value="${escaped(hint)}" autocomplete="username" autofocus></p>
    <button id="submit" type="submit">Sign in</button>
    <button id="cancel" type="submit" name="cancel" value="1" formnovalidate>Cancel</button>
  </form>`);
}

function page(title, body) {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>${title}</title><h1>${title}</h1>${body}</html>`;
}

function escaped(text) {
  return String(text).replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);
}
