// What people read for each code of the gateway.

/** A sign-in that failed: `auth_error` in the address. */
export const SIGN_IN = {
  access_denied: 'The sign-in was cancelled, or access was not granted.',
  login_required: 'You are no longer signed in at your organisation. Please sign in.',
  consent_required: 'This app needs your consent before it can go on. Please sign in and grant it.',
  interaction_required: 'Your organisation wants to ask you something first. Please sign in.',
  tenant_denied: 'Your organisation is not among those that may use this app.',
  provider_unavailable: 'The identity provider does not answer. Please try again shortly.',
  keys_unavailable: 'The gateway cannot reach its keys. Please try again shortly.',
  store_unavailable: 'The gateway cannot reach its session store. Please try again shortly.',
  cookie_too_large: 'Your account brings more data than a session can hold. Your administrator can help.',
  login_expired: 'The sign-in took too long, or was finished already. Please sign in again.',
  login_failed: 'The sign-in did not work. Please try again.',
};

/** A call that the gateway refused or could not make: `Cloakroom-Error`. */
export const CALL = {
  session_missing: 'You are not signed in. Sign in to go on.',
  session_expired: 'Your session is over. Sign in again to go on.',
  step_up_required: 'This needs a fresh proof that it is you.',
  consent_required: 'This needs your consent.',
  csrf_failed: 'The gateway refused this call: it did not carry the header that proves where it comes from.',
  origin_denied: 'The gateway refused this call: it came from another origin.',
  route_denied: 'The gateway does not pass this call on: its API map does not list it.',
  method_denied: 'The gateway does not pass this method on.',
  navigation_required: 'This address wants to be opened, not called.',
  bad_request: 'The gateway did not understand this call.',
  body_too_large: 'That is more than the gateway passes on.',
  overloaded: 'The gateway has its hands full.',
  keys_unavailable: 'The gateway cannot reach its keys.',
  store_unavailable: 'The gateway cannot reach its session store.',
  provider_unavailable: 'The identity provider does not answer.',
  upstream_unavailable: 'The API cannot be reached.',
  upstream_timeout: 'The API took too long to answer.',
  internal: 'Something went wrong in the gateway.',
  network: 'The gateway cannot be reached. Are you online?',
  unexpected: 'The answer did not come from the gateway.',
};
