// In front of the devkit's Graph, adds what only Microsoft's client uses: JSON batches, files, and the host of upload
// sessions, which is on another origin than Graph: node graph.mjs PORT UPSTREAM_PORT. Prints a line when it is ready.
// `GET /state` returns the files and the requests that the upload host received.
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { buffer } from 'node:stream/consumers';

const [port, upstream] = process.argv.slice(2).map(Number);
/** All chunks but the last are a multiple of this. */
const STEP = 320 * 1024;
/** The last changed at the end. */
const files = [];
const sessions = new Map();
const received = [];
let changes = 0;

/** Graph checks the token and records the request. What it does not know is answered here. */
createServer(async (incoming, outgoing) => {
  const { method, url, rawHeaders } = incoming;
  if (url === '/state') {
    const contents = files.map((file) => ({ ...file, content: file.content.toString('base64') }));
    return sendJson(outgoing, 200, { files: contents, requests: received });
  }
  const body = await buffer(incoming);
  const { status, headers, content } = await send(method, url, rawHeaders, body);
  const own = status === 404 && await answer(incoming, decodeURIComponent(url.slice('/v1.0'.length)), body);
  return own ? sendJson(outgoing, 200, own) : outgoing.writeHead(status, headers).end(content);
}).listen(port, '127.0.0.1');

function send(method, path, headers, body) {
  return new Promise((resolve, reject) => {
    request({ host: '127.0.0.1', port: upstream, method, path, headers }, async (response) => {
      resolve({ status: response.statusCode, headers: response.rawHeaders, content: await buffer(response) });
    }).on('error', reject).end(body);
  });
}

async function answer({ method, headers }, path, body) {
  if (path === '/$batch') return { responses: await batch(JSON.parse(body).requests, headers.authorization) };
  const upload = /^\/me\/drive\/(?:root:(?<file>\/.*):|items\/(?<id>[^/]+))\/createUploadSession$/.exec(path)?.groups;
  const file = upload?.file ?? files.find(({ id }) => id === upload?.id)?.path;
  if (method === 'POST' && file) {
    const session = randomUUID();
    sessions.set(session, { path: file, content: Buffer.alloc(0) });
    return { uploadUrl: `${uploadOrigin()}/?session=${session}`, ...progress(session) };
  }
  const delta = /^\/me\/drive\/root\/delta(?:\(token='(\d+)'\))?$/.exec(path);
  return delta && {
    value: files.filter(({ change }) => change > Number(delta[1] ?? 0)).map(item),
    '@odata.deltaLink': `https://graph.microsoft.com/v1.0/me/drive/root/delta(token='${changes}')`,
  };
}

/** One after the other, as requests that Graph does not record. */
async function batch(requests, authorization) {
  const responses = [];
  for (const { id, method, url, headers, body } of requests) {
    const all = { ...headers, authorization, 'x-stand-in': '1' };
    const { status, content } = await send(method, `/v1.0${url}`, all, body && JSON.stringify(body));
    const payload = content.length ? { body: JSON.parse(content) } : {};
    responses.push({ id, status, headers: { 'Content-Type': 'application/json' }, ...payload });
  }
  return responses;
}

// The client takes only https for an absolute URL. Its key is public on purpose: browsers of tests accept any certificate.
const pem = readFileSync(new URL('upload-host.pem', import.meta.url));
const uploads = createTlsServer({ key: pem, cert: pem }, async (incoming, outgoing) => {
  const { method, headers } = incoming;
  const chunk = await buffer(incoming);
  received.push({ method, headers });
  outgoing.setHeader('Access-Control-Allow-Origin', '*');
  if (method === 'OPTIONS') {
    outgoing.setHeader('Access-Control-Allow-Methods', 'GET, PUT, DELETE');
    outgoing.setHeader('Access-Control-Allow-Headers', 'content-range, content-type');
    return outgoing.end();
  }
  const id = new URL(incoming.url, uploadOrigin()).searchParams.get('session');
  if (headers.authorization || !sessions.has(id)) return sendJson(outgoing, headers.authorization ? 401 : 404, {});
  if (method === 'PUT') return put(outgoing, id, headers['content-range'], chunk);
  if (method === 'DELETE') return sendJson(outgoing, sessions.delete(id) ? 204 : 404);
  return sendJson(outgoing, 200, progress(id));
}).listen(0, '127.0.0.1', () => console.log('ready'));

function uploadOrigin() {
  return `https://127.0.0.1:${uploads.address().port}`;
}

function put(outgoing, id, range, chunk) {
  const session = sessions.get(id);
  const [from, to, total] = (/^bytes (\d+)-(\d+)\/(\d+)$/.exec(range) ?? []).slice(1).map(Number);
  const isLast = to + 1 === total;
  if (to - from + 1 !== chunk.length || !(isLast || chunk.length % STEP === 0)) return sendJson(outgoing, 400, {});
  if (from !== session.content.length) return sendJson(outgoing, 416, {});
  session.content = Buffer.concat([session.content, chunk]);
  if (!isLast) return sendJson(outgoing, 202, progress(id));
  sessions.delete(id);
  const index = files.findIndex(({ path }) => path === session.path);
  const [old] = index < 0 ? [] : files.splice(index, 1);
  changes += 1;
  files.push({ id: old?.id ?? randomUUID(), ...session, change: changes });
  return sendJson(outgoing, old ? 200 : 201, item(files.at(-1)));
}

function progress(id) {
  const expirationDateTime = new Date(Date.now() + 86_400_000).toISOString();
  return { expirationDateTime, nextExpectedRanges: [`${sessions.get(id).content.length}-`] };
}

function item({ id, path, content }) {
  return { id, name: path.split('/').at(-1), size: content.length, file: {} };
}

function sendJson(outgoing, status, body) {
  outgoing.writeHead(status, { 'Content-Type': 'application/json' }).end(body && JSON.stringify(body));
}

process.stdin.on('end', () => process.exit()).resume();
