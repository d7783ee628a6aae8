// Asks once a second, and at once when the stream of events says that something failed.

const EVERY_MS = 1000;
/** Not more often than this, however many events there are. */
const AT_ONCE_MS = 400;
const PATIENCE_MS = 5000;
/** After so many rounds without an answer what is shown is old. */
const MISSES = 3;
/** How many notices stay. */
const NOTICES = 4;
const EVENTS = ["exhausted", "conflict", "refused", "threshold"];

const connection = { run: undefined, answered: undefined, misses: 0, why: undefined, stream: undefined };
let timer;
let began = -Infinity;
let isAsking = false;
let isUrgent = false;

/** What is served beside the page. A browser asks no address with a password in it, as the page's own may have. */
function beside(path) {
  return new URL(path, location.origin + location.pathname);
}

async function ask(path, patience = PATIENCE_MS) {
  const answer = await fetch(beside(path), { cache: "no-store", signal: AbortSignal.timeout(patience) });
  if (answer.ok) return answer.json();
  const { error } = await answer.json().catch(() => ({}));
  throw new Error(error ?? `the answer is ${answer.status}`);
}

function notice(text) {
  const list = document.getElementById("notices");
  list.prepend(element("li", { className: "lost", textContent: `${clock(new Date().toISOString())} ${text}` }));
  while (list.children.length > NOTICES) list.lastChild.remove();
}

async function round() {
  clearTimeout(timer);
  if (document.hidden || isAsking) return;
  isAsking = true;
  isUrgent = false;
  began = performance.now();
  let answers;
  try {
    answers = await Promise.all([ask("snapshot?top=20"), ask("top")]);
  } catch (error) {
    // Once is no news: an observer that is busy answers a moment later.
    connection.misses += 1;
    if (error.name === "TypeError") connection.why = "it can't be reached";
    else if (connection.misses >= MISSES) connection.why ??= error.message;
  }
  isAsking = false;
  // First, so that it goes on whatever comes.
  schedule();
  if (connection.stream?.readyState === EventSource.CLOSED) follow();
  if (answers) answered(...answers);
  showConnection();
}

/** The next answer is wanted a second after the last, or as soon as may be. */
function schedule() {
  clearTimeout(timer);
  const due = began + (isUrgent ? AT_ONCE_MS : EVERY_MS);
  timer = setTimeout(round, Math.max(0, due - performance.now()));
}

/** Something happened: the next answer is wanted at once. */
function hurry() {
  if (isUrgent) return;
  isUrgent = true;
  if (!isAsking) schedule();
}

function answered(snapshot, top) {
  if (connection.run !== undefined && connection.run !== top.run) {
    notice("port-observer was started again: what happened in between is not known here.");
  } else if (connection.why !== undefined && connection.answered !== undefined) {
    notice(`It did not answer from ${clock(connection.answered)} on; now it does again.`);
  }
  Object.assign(connection, { run: top.run, answered: top.time, misses: 0, why: undefined });
  showNamespaces(snapshot.namespaces);
  takeSamples(top);
  chooseFullest(top.spaces);
  showSpaces(top.spaces);
  const full = showOutlook(top.spaces);
  showFailures(top);
  showProcesses(snapshot.processes);
  showMissing(snapshot.missing);
  drawPicture(false);
  showMapChoice(snapshot.namespaces);
  askMap();
  askDay(top.recording);
  const title = `Ports of ${snapshot.host}`;
  document.getElementById("title").textContent = title;
  document.title = full > 0 ? `${full} full: ${title}` : title;
}

/** Whether what is shown is of now. */
function showConnection() {
  const { why, answered: at, stream } = connection;
  const isStreaming = stream?.readyState === EventSource.OPEN;
  let status = "Live.";
  if (why !== undefined) status = at === undefined ? `No answer yet: ${why}.` : `No answer: ${why}. All below is old.`;
  else if (!isStreaming) status = "Live, once a second: the stream of events is not connected.";
  const place = document.getElementById("status");
  if (place.textContent !== status) place.textContent = status;
  const since = at === undefined ? "" : why === undefined ? `State of ${clock(at)}` : `State of ${clock(at)}, tried again every second`;
  document.getElementById("since").textContent = since;
  document.getElementById("state").className = `state ${why === undefined ? (isStreaming ? "live" : "partly") : "old"}`;
  document.body.classList.toggle("stale", why !== undefined);
}

/** Follows the events; a stream that breaks comes back by itself, from where it was. */
function follow() {
  connection.stream?.close();
  const stream = new EventSource(beside(`events?events=${EVENTS.join(",")},lost`));
  connection.stream = stream;
  for (const name of EVENTS) {
    stream.addEventListener(name, ({ data }) => {
      if (name === "exhausted") takeRefused(JSON.parse(data));
      hurry();
    });
  }
  stream.addEventListener("lost", ({ data }) => {
    const { count, where } = JSON.parse(data);
    // Without a count: of another run, which the answers tell too.
    if (count !== undefined) notice(`${number(count)} events were lost (${where.replace("_", " ")}).`);
  });
  stream.addEventListener("open", () => {
    showConnection();
    hurry();
  });
  stream.addEventListener("error", showConnection);
}

// A page that nobody sees asks nothing, and holds no connection.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    connection.stream?.close();
    clearTimeout(timer);
  } else {
    follow();
    round();
  }
});

follow();
round();
