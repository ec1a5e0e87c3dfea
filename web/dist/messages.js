// Texts of the sample page for the codes of the gateway and of the client.

import { GATEWAY_CODES, SIGN_IN_CODES } from './codes.js';

/** @type {Record<typeof SIGN_IN_CODES[number], string>} */
const SIGN_IN = {
  access_denied: 'The sign-in was cancelled, or access was not granted.',
  login_required: 'You are no longer signed in at your organisation. Please sign in.',
  consent_required: 'This app needs your consent. Please sign in and grant it.',
  interaction_required: 'Your organisation requires another step. Please sign in.',
  tenant_denied: 'Accounts of your organisation cannot sign in to this app.',
  provider_unavailable: 'The identity provider does not respond. Please try again shortly.',
  keys_unavailable: 'The gateway cannot reach its keys. Please try again shortly.',
  store_unavailable: 'The gateway cannot reach its session store. Please try again shortly.',
  cookie_too_large: 'Your account has more data than a session can hold. Please contact your administrator.',
  login_expired: 'The sign-in took too long or was already completed. Please sign in again.',
  login_failed: 'The sign-in failed. Please try again.',
};

/** @type {Record<typeof GATEWAY_CODES[number], string>} */
const GATEWAY = {
  session_missing: 'You are not signed in. Please sign in.',
  session_expired: 'Your session has ended. Please sign in again.',
  step_up_required: 'This call requires that you confirm your identity.',
  consent_required: 'This call requires your consent.',
  csrf_failed: 'The gateway rejected this call: the CSRF header is missing.',
  origin_denied: 'The gateway rejected this call: it came from an origin that is not allowed.',
  route_denied: 'The gateway rejected this call: its API map does not list this path.',
  method_denied: 'The gateway rejected this call: its API map does not list this method for the path.',
  navigation_required: 'This address must be opened by navigating to it.',
  bad_request: 'The gateway rejected this call: it is malformed.',
  body_too_large: 'The request is too large.',
  overloaded: 'The gateway is overloaded.',
  keys_unavailable: 'The gateway cannot reach its keys.',
  store_unavailable: 'The gateway cannot reach its session store.',
  provider_unavailable: 'The identity provider does not respond.',
  upstream_unavailable: 'The API cannot be reached.',
  upstream_timeout: 'The API did not respond in time.',
  internal: 'The gateway failed.',
};

/** Codes of the client itself. */
const CLIENT = {
  network: 'The gateway cannot be reached. Are you online?',
  unexpected: 'The response did not come from the gateway.',
};

/**
 * @param {string} code from the address, where anybody can write it
 * @returns {{code: string, text: string}}
 */
export function signInError(code) {
  const known = SIGN_IN_CODES.includes(code) ? code : 'login_failed';
  return { code: known, text: SIGN_IN[known] };
}

/** @param {string} code of a `CloakroomError` */
export function callError(code) {
  return GATEWAY_CODES.includes(code) ? GATEWAY[code] : CLIENT[Object.hasOwn(CLIENT, code) ? code : 'unexpected'];
}
