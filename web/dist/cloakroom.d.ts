/** Types of cloakroom.js, a client for the Cloakroom gateway. */

export interface Api {
  /** Route of this API at the gateway, such as `/graph`. */
  path: string;
  status: 'ok' | 'needs_consent' | 'needs_step_up' | 'expired';
  /** Where to sign in if `status` is not `ok`. */
  login_url?: string;
}

export interface User {
  sub: string;
  /** This and the next four are null if the sign-in did not say them. */
  oid: string | null;
  tid: string | null;
  name: string | null;
  preferred_username: string | null;
  email: string | null;
  roles: string[];
  /** How the user authenticated, where the provider says so. */
  acr?: string;
  amr?: string[];
  /** When, in seconds since 1970. */
  auth_time?: number;
}

export interface Session {
  authenticated: boolean;
  user?: User;
  /** Both in seconds. */
  session?: { expires_in: number; idle_expires_in: number };
  apis?: Record<string, Api>;
  links: {
    login: string;
    logout?: string;
    refresh?: string;
    /** Only with a session store: the user's sessions, which `GET` lists and `DELETE` ends. */
    sessions?: string;
  };
  /** The header that calls need; `fetch` of this module sends it. */
  csrf: { header: string; value: string };
}

export interface SignInOptions {
  /** Path, query and fragment to return to; by default the current address. */
  returnTo?: string;
  /** Requests the consent that this API needs. */
  api?: string;
  /** A login URL of the gateway, such as `CloakroomError.loginUrl`. */
  url?: string | URL;
}

/** An error of the gateway itself, or that it cannot be reached. */
export class CloakroomError extends Error {
  constructor(
    code: string,
    details?: {
      status?: number;
      title?: string;
      loginUrl?: string;
      retryAfter?: number;
      traceId?: string;
      cause?: unknown;
    },
  );
  /** A code of the gateway, `network`, or `unexpected` for a response that is not the gateway's. */
  code: string;
  status?: number;
  loginUrl?: string;
  /** In seconds. */
  retryAfter?: number;
  traceId?: string;
}

export interface Cloakroom {
  /**
   * The state of the session. Does not extend it.
   *
   * @throws {CloakroomError}
   */
  session(): Promise<Session>;

  /**
   * Calls a function with the session, once it is read, and again when another user is signed in, or none any more, as
   * far as this page notices: by `session()`, by a call whose session has ended, and when the page becomes visible. A
   * session that cannot be read changes nothing.
   *
   * @returns a function that ends it
   */
  subscribe(listener: (session: Session) => void): () => void;

  /**
   * Leaves the page to sign in.
   *
   * @throws {TypeError} `url` is not on the origin of the gateway
   */
  signIn(options?: SignInOptions): void;

  /**
   * Ends the session, then leaves the page to end it at the identity provider.
   *
   * @throws {CloakroomError}
   */
  signOut(): Promise<void>;

  /**
   * Extends the session.
   *
   * @returns false if the session has ended
   * @throws {CloakroomError}
   */
  refresh(): Promise<boolean>;

  /**
   * `window.fetch` that adds the CSRF header to calls to the gateway, and credentials if it is on another origin. Then a
   * relative address is the gateway's, except in a `Request`, which the browser resolves. A `session_expired` can be
   * outdated, because another tab or instance has just written a newer cookie: then the session is refreshed and the call
   * repeated, once.
   *
   * @returns errors of the gateway included: see `problem`
   * @throws {CloakroomError} with the code `network`
   */
  fetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response>;

  /**
   * The error of the gateway in a response, or null if the response is the API's, whatever its status, or another
   * origin's. The body stays readable.
   */
  problem(response: Response): Promise<CloakroomError | null>;

  /**
   * Why the last sign-in failed, if it did: a code. Removes `auth_error` from the address, so that a reload does not
   * repeat it, and the empty fragment of every redirect after a sign-in.
   */
  takeAuthError(): string | null;
}

/**
 * The functions for one gateway, by default that on the page's own origin.
 *
 * @throws {TypeError} `origin` is not one of `https:` or `http:`
 */
export function createCloakroom(options?: { origin?: string }): Cloakroom;

/** Those of `createCloakroom()`, made at the first call, which throws a TypeError where the page has no origin. */
export const session: Cloakroom['session'];
export const subscribe: Cloakroom['subscribe'];
export const signIn: Cloakroom['signIn'];
export const signOut: Cloakroom['signOut'];
export const refresh: Cloakroom['refresh'];
export const fetch: Cloakroom['fetch'];
export const problem: Cloakroom['problem'];
export const takeAuthError: Cloakroom['takeAuthError'];
