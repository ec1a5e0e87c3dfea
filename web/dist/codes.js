// All error codes of the gateway. Generated: UPDATE_DOCS=1 cargo test --test integration tidy

/** Values of `auth_error`: why a sign-in failed. */
export const SIGN_IN_CODES = /** @type {const} */ ([
  'access_denied',
  'consent_required',
  'cookie_too_large',
  'interaction_required',
  'keys_unavailable',
  'login_expired',
  'login_failed',
  'login_required',
  'provider_unavailable',
  'store_unavailable',
  'tenant_denied',
]);

/** Values of `Cloakroom-Error`: why the gateway itself responded to a call with an error. */
export const GATEWAY_CODES = /** @type {const} */ ([
  'bad_request',
  'body_too_large',
  'consent_required',
  'csrf_failed',
  'internal',
  'keys_unavailable',
  'method_denied',
  'navigation_required',
  'origin_denied',
  'overloaded',
  'provider_unavailable',
  'route_denied',
  'session_expired',
  'session_missing',
  'step_up_required',
  'store_unavailable',
  'upstream_timeout',
  'upstream_unavailable',
]);
