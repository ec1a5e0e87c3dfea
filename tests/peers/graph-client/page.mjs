// What an app does with Microsoft's Graph client, exposed to the test as `window.graph`. Everything that a script sees of
// the network is kept in `window.seen`.
import {
  BatchRequestContent, BatchResponseContent, Client, FileUpload, LargeFileUploadTask, OneDriveLargeFileUploadTask,
  PageIterator, ResponseType, RetryHandler, TelemetryHandler,
} from '@microsoft/microsoft-graph-client';
import { session } from '../../../web/dist/cloakroom.js';
import { GatewayHandler } from '../../../web/dist/graph-middleware.js';

const seen = [];
const plainFetch = window.fetch;
window.fetch = async (input, init) => {
  const request = new Request(input, init);
  const call = { method: request.method, url: request.url, headers: [...request.headers] };
  seen.push(call);
  const answer = await plainFetch(request);
  const text = await answer.clone().text();
  Object.assign(call, { status: answer.status, answer: [...answer.headers], text });
  return answer;
};

const client = Client.initWithMiddleware({
  middleware: [new RetryHandler(), new TelemetryHandler(), new GatewayHandler()],
});

const CHUNK = 320 * 1024;

/** Bytes that differ from their neighbours, so that no chunk can stand in for another. */
function content(length) {
  return new Blob([Uint8Array.from({ length }, (_, at) => (at * 7 + (at >> 8)) % 251)]);
}

const graph = {
  /** Every message, though a page has ten. */
  async pages() {
    const subjects = [];
    const iterator = new PageIterator(client, await client.api('/me/messages').top(10).get(), (message) => {
      subjects.push(message.subject);
      return true;
    });
    await iterator.iterate();
    return subjects;
  },

  /** A new file in a folder of the drive: its item, and the ranges reported as complete. */
  async upload(fileName, length) {
    const done = [];
    const progress = ({ minValue, maxValue }) => done.push([minValue, maxValue]);
    const options = { fileName, path: '/reports', rangeSize: CHUNK, uploadEventHandlers: { progress } };
    const task = await OneDriveLargeFileUploadTask.create(client, content(length), options);
    return { item: (await task.upload()).responseBody, done };
  },

  /** New content for an item: begun, given up after a chunk, and resumed from what the host has. */
  async replace(id, length) {
    const url = await LargeFileUploadTask.createUploadSession(client, `/me/drive/items/${id}/createUploadSession`, {});
    const file = new FileUpload(content(length), 'replaced', length);
    const first = new LargeFileUploadTask(client, file, url, { rangeSize: CHUNK });
    const range = first.getNextRange();
    await first.uploadSlice(await file.sliceFile(range), range, length);
    const second = new LargeFileUploadTask(client, file, url, { rangeSize: CHUNK });
    return (await second.resume()).responseBody;
  },

  /** Begins an upload and cancels it. */
  async cancel() {
    const options = { fileName: 'never.bin', rangeSize: CHUNK };
    const task = await OneDriveLargeFileUploadTask.create(client, content(10), options);
    return (await task.cancel()).status;
  },

  /** Three calls in one, one after the other. */
  async batch() {
    const change = { method: 'PATCH', headers: { 'Content-Type': 'application/json' }, body: '{"jobTitle":"Countess"}' };
    const content = new BatchRequestContent([
      { id: 'who', request: new Request('/me') },
      { id: 'post', request: new Request('/me/messages?$top=2'), dependsOn: ['who'] },
      { id: 'change', request: new Request('/me', change), dependsOn: ['post'] },
    ]);
    const answers = new BatchResponseContent(await client.api('/$batch').post(await content.getContent()));
    const [who, post, changed] = ['who', 'post', 'change'].map((id) => answers.getResponseById(id));
    return [(await who.json()).userPrincipalName, (await post.json()).value.length, changed.status];
  },

  /** Names of what is on the drive, and the link that asks for later changes. */
  async delta(link = '/me/drive/root/delta') {
    const answer = await client.api(link).get();
    return { names: answer.value.map((item) => item.name), link: answer['@odata.deltaLink'] };
  },

  /** Type and first bytes of the photo. */
  async photo() {
    const blob = await client.api('/me/photo/$value').responseType(ResponseType.BLOB).get();
    return [blob.type, ...new Uint8Array(await blob.slice(0, 4).arrayBuffer())];
  },

  /** What comes of a call, by its error when it has one. */
  async attempt(path, method = 'get') {
    try {
      return await client.api(path).header('Prefer', 'odata.maxpagesize=5')[method]({});
    } catch (error) {
      const { statusCode, code, message, body } = error;
      return { statusCode, code, message, body };
    }
  },
};

// What the client throws is no message that a WebDriver understands.
for (const [name, act] of Object.entries(graph)) {
  graph[name] = (...details) => act(...details).catch(({ statusCode, code, message }) => {
    throw new Error(`${name}: ${statusCode} ${code} ${message}`);
  });
}
Object.assign(window, { graph, seen });
document.body.dataset.signedIn = (await session()).authenticated;
