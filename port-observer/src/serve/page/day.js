// The last day from the recording: a part of it is chosen by drawing over it, and is what a report is of.

const EVERY_DAY_MS = 60_000;
/** A long recording takes its time. */
const DAY_PATIENCE_MS = 600_000;
const DAY_HEIGHT = 160;
/** So many seconds at the end are chosen at first. */
const AT_FIRST = 3600;
const WHY_NO_DAY = {
  nothing_recorded: "Nothing is recorded: start `serve` with --record FILE.",
  withheld:
    "The recording has command lines, which others of this host are not to read: ask with a token (`serve` with --token FILE) or on a Unix socket.",
};
const dayPlace = document.getElementById("day-plot");
const dayLink = document.getElementById("day-report");
const dayEnds = { from: document.getElementById("day-from"), to: document.getElementById("day-to") };

/**
 * What is shown. `from`, `to`: what is chosen, in seconds since 1970; `anchor`, `at`: the points at its
 * ends, where it was chosen by keyboard.
 */
const day = { due: 0, isAsking: false, timeline: undefined, plot: undefined, from: undefined, to: undefined };

/** Asks for it when it is time to; `recording`: whether there is one to be read. */
async function askDay(recording) {
  if (recording !== "yes") return sayOfDay(WHY_NO_DAY[recording]);
  if (day.isAsking || performance.now() < day.due) return;
  day.isAsking = true;
  try {
    showDay(await ask("history", DAY_PATIENCE_MS));
  } catch (error) {
    sayOfDay(`The recording could not be read: ${error.message}.`);
  } finally {
    day.isAsking = false;
    day.due = performance.now() + EVERY_DAY_MS;
  }
}

function sayOfDay(text) {
  const place = document.getElementById("day-state");
  if (place.textContent !== text) place.textContent = text;
}

function showDay({ began, step_seconds, bucket, is_known, used, capacity, failures }) {
  if (bucket.length === 0) return sayOfDay("Nothing was recorded yet.");
  const isNew = day.timeline === undefined;
  // In percent: it is not always the same destination that is the fullest.
  const percentOf = (count, at) => (capacity[at] === 0 ? 0 : (count / capacity[at]) * 100);
  const percent = used.map((count, at) => (is_known[at] ? percentOf(count, at) : null));
  day.timeline = { began, step_seconds, bucket, used, capacity, percent, refused: failures };
  const failed = failures.reduce((sum, count) => sum + count, 0);
  sayOfDay(`Calls that failed in what was recorded of it: ${number(failed)}.`);
  document.getElementById("day").hidden = false;
  const last = endOf(bucket.length - 1);
  if (isNew) brush(Math.max(timeAt(day.timeline, 0), last - AT_FIRST), last);
  drawDay();
}

/** When a point ends. */
function endOf(at) {
  return timeAt(day.timeline, at) + day.timeline.step_seconds;
}

function drawDay() {
  const { timeline } = day;
  if (timeline === undefined || dayPlace.clientWidth < NARROWEST) return;
  const [first, last] = [timeAt(timeline, 0), endOf(timeline.bucket.length - 1)];
  const rows = rowsOf(timeline, { first, last });
  const layers = [{ number: 0, isTimeWait: false, values: timeline.percent }];
  const percent = rows.map(({ at }) => (at === undefined ? null : timeline.percent[at]));
  const all = rows.map(({ at }) => (at === undefined ? null : 100));
  const size = { width: dayPlace.clientWidth, height: DAY_HEIGHT };
  const options = optionsOf({ timeline, series: [{}], layers, size });
  options.padding = [null, 32, null, null];
  options.axes[1].values = (_, ticks) => ticks.map((tick) => `${tick}%`);
  options.scales.y = { range: [0, 108] };
  // It is no picture of the same time as the others.
  delete options.cursor.sync;
  options.cursor.drag = { x: true, y: false, setScale: false };
  options.hooks.setCursor = [({ cursor: { idx } }) => idx != null && tellOfDay(rows[idx].at)];
  options.hooks.setSelect = [drawnOver];
  day.plot?.destroy();
  day.plot = new uPlot(options, [rows.map(({ time }) => time), percent, all], dayPlace);
  showBrush();
}

/** Of the pointer: from where to where it was drawn. A click alone chooses nothing. */
function drawnOver(plot) {
  const { left, width } = plot.select;
  if (width > 0) {
    day.anchor = undefined;
    brush(plot.posToVal(left, "x"), plot.posToVal(left + width, "x"));
  }
  showBrush();
}

/** This is chosen from now on; the fields stay as they are while they are typed into. */
function brush(from, to, isTyped = false) {
  Object.assign(day, { from: Math.floor(Math.min(from, to)), to: Math.ceil(Math.max(from, to)) });
  if (!isTyped) {
    for (const name of ["from", "to"]) dayEnds[name].value = timeText(day[name], 1).replace(" ", "T");
  }
  const moment = (seconds) => encodeURIComponent(new Date(seconds * 1000).toISOString().replace(".000", ""));
  dayLink.href = beside(`report?from=${moment(day.from)}&to=${moment(day.to)}`);
  dayLink.textContent = `Report of ${timeText(day.from, 1)} to ${timeText(day.to, 1)}`;
}

function showBrush() {
  const { plot, from, to } = day;
  if (plot === undefined) return;
  const end = plot.over.clientWidth;
  const [left, right] = [from, to].map((time) => Math.min(Math.max(plot.valToPos(time, "x"), 0), end));
  plot.setSelect({ left, width: right - left, top: 0, height: plot.over.clientHeight }, false);
}

function tellOfDay(at) {
  const { timeline } = day;
  let text = "Nothing is known of this time.";
  if (at !== undefined) {
    const [used, capacity, failed] = [timeline.used[at], timeline.capacity[at], timeline.refused[at]];
    let full = `${number(used)} of ${number(capacity)} ports used`;
    if (timeline.percent[at] === null) full = "how full it was is not known";
    else if (capacity === 0) full = "no port used";
    text = `${timeText(timeAt(timeline, at), 1)} (fullest moment of ${timeline.step_seconds} s): ${full}; calls that failed: ${number(failed)}.`;
  }
  document.getElementById("day-at").textContent = text;
}

dayPlace.addEventListener("keydown", (event) => {
  const { timeline } = day;
  if (timeline === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Enter") {
    event.preventDefault();
    dayLink.click();
    return;
  }
  const last = timeline.bucket.length - 1;
  const at = Math.min(day.at ?? last + 1, last + 1);
  const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  day.at = Math.min(Math.max(to, 0), last);
  // With Shift it reaches from where it was to here, as text is chosen.
  day.anchor = event.shiftKey ? Math.min(day.anchor ?? day.at, last) : day.at;
  const [first, end] = [Math.min(day.anchor, day.at), Math.max(day.anchor, day.at)];
  brush(timeAt(timeline, first), endOf(end));
  showBrush();
  tellOfDay(day.at);
});

for (const field of Object.values(dayEnds)) {
  field.addEventListener("input", () => {
    const [from, to] = [dayEnds.from, dayEnds.to].map(({ value }) => Date.parse(value) / 1000);
    if (!(from <= to)) return;
    day.anchor = undefined;
    brush(from, to, true);
    showBrush();
  });
}
new ResizeObserver(drawDay).observe(dayPlace);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawDay);
