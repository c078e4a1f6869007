// Asking the server: errors as sentences, patience while it is away, starting or busy.

const PATIENCE = 60_000; // ms for one request
const POLL = 2000; // ms between two looks at a server that is away
const BUSY = 12; // times that a busy server may send a picture back
const LOST = 3; // times that sending a picture may fail while the server is there

let token = "";
let asked = 0; // how often a model was asked for
let wanted; // the name of the last one
let returning = null; // the promise that the server is there again
let tell = () => {};
const sleepers = new Set();

/** The server answered, but no: its status and sentence, and after how many seconds it may be asked again. */
export class Refused extends Error {
  constructor(status, sentence, after = 1) {
    super(sentence);
    this.status = status;
    this.after = after;
  }
}

class Gone extends Error {}

/** Have TOLD(state, facts, sentence) called: "ready" or "starting" with facts, "gone", "locked", or "refused". */
export function whenAsked(told) {
  tell = told;
}

/** Send TEXT as the token from now on. */
export function unlock(text) {
  token = text;
  lookAgain();
}

/** Whether requests carry a token. */
export function locked() {
  return token !== "";
}

/** Do not wait for the next look at a server that is away. */
export function lookAgain() {
  for (const wake of sleepers) wake();
}

/** The address of PATH with QUERY on the server that this page came from. */
export function address(path, query = {}) {
  const url = new URL(path, document.baseURI);
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  return url.href;
}

/** The answer to one request. Throws Refused, or Gone. */
async function once(path, query, body, type) {
  const headers = { ...(token && { Authorization: `Bearer ${token}` }), ...(type && { "Content-Type": type }) };
  const how = { method: body ? "POST" : "GET", headers, body, signal: AbortSignal.timeout(PATIENCE) };
  try {
    const answer = await fetch(address(path, query), how);
    if (answer.ok) return answer;
    const { error } = await answer.json().catch(() => ({}));
    throw new Refused(answer.status, error ?? answer.statusText, Number(answer.headers.get("Retry-After")) || 1);
  } catch (problem) {
    throw problem instanceof Refused ? problem : new Gone(problem.message);
  }
}

function pause(ms) {
  return new Promise((resolve) => {
    const wake = () => {
      sleepers.delete(wake);
      resolve();
    };
    sleepers.add(wake);
    setTimeout(wake, ms);
  });
}

/**
 * What the server says of the model called NAME, or of its first one, as soon as that is ready to answer.
 * Who asks for another model meanwhile ends the waiting for this one, without a word.
 */
export async function describe(name) {
  const turn = ++asked;
  wanted = name;
  for (;;) {
    try {
      const facts = await (await once("model", name ? { model: name } : {})).json();
      if (turn !== asked) return null;
      tell(facts.ready ? "ready" : "starting", facts);
      if (facts.ready) return facts;
    } catch (problem) {
      if (turn !== asked) return null;
      if (name && [400, 404].includes(problem.status)) return describe(); // a server with other models came back
      if (!problem.status) tell("gone");
      else if (problem.status === 503) tell("starting");
      else tell(problem.status === 401 ? "locked" : "refused", null, problem.message);
    }
    await pause(POLL);
  }
}

/** The server being there again; all who wait for it look together. */
function back() {
  returning ??= describe(wanted).finally(() => {
    returning = null;
  });
  return returning;
}

/** The JSON answer to a picture. Waits for a server that is away or busy. Throws Refused. */
export async function send(path, query, file, type) {
  const body = await file.arrayBuffer().catch(() => null);
  if (!body) throw new Refused(0, "unreadable");
  let busy = 0;
  let lost = 0;
  for (;;) {
    try {
      return await (await once(path, query, body, type)).json();
    } catch (problem) {
      if (problem.status === 503 && ++busy <= BUSY) {
        await new Promise((resolve) => setTimeout(resolve, 1000 * Math.min(problem.after, 30)));
      } else if (problem.status === 401 || (!problem.status && ++lost <= LOST)) {
        await back();
      } else {
        throw problem.status ? problem : new Refused(0, "not_sent");
      }
    }
  }
}

/** The page of the run of the model called NAME, as a file. */
export async function report(name) {
  return (await once("report", { model: name })).blob();
}
