// From columns of numbers to what is drawn.

/** How a series is called. */
function nameOf(series) {
  if (series.others) return "others";
  if (series.name === undefined) return "a process not known";
  const container = series.container ? ` (${series.container.name ?? series.container.id.slice(0, 12)})` : "";
  const which = series.pid === undefined ? ", several" : ` ${series.pid}`;
  return `${series.name}${which}${container}`;
}

/** All series of a timeline, with others last if they hold anything. */
function seriesOf(timeline) {
  const { others } = timeline;
  const holdsAny = [...others.in_use, ...others.time_wait].some((count) => count > 0);
  return holdsAny ? [...timeline.series, { ...others, others: true }] : timeline.series;
}

/** When each point begins, in seconds since 1970. */
function timesOf(timeline) {
  const began = Date.parse(timeline.began) / 1000;
  return timeline.bucket.map((number) => began + number * timeline.step_seconds);
}

/** When a point begins. */
function timeAt(timeline, at) {
  return Date.parse(timeline.began) / 1000 + timeline.bucket[at] * timeline.step_seconds;
}

/** From when to when any of the pictures goes. */
function spanOf(timelines) {
  const firsts = timelines.map((timeline) => timesOf(timeline)[0]);
  const lasts = timelines.map((timeline) => timesOf(timeline).at(-1) + timeline.step_seconds);
  return { first: Math.min(...firsts), last: Math.max(...lasts) };
}

/**
 * The rows of the picture: those of the points, and one of nothing where nothing is known, so that
 * each point reaches to the end of its bucket and no farther. `at` is the number of the point.
 */
function rowsOf(timeline, { first, last }) {
  const { bucket, step_seconds: step } = timeline;
  const times = timesOf(timeline);
  const rows = times[0] > first ? [{ time: first, at: undefined }] : [];
  bucket.forEach((number, at) => {
    rows.push({ time: times[at], at });
    if (bucket[at + 1] !== number + 1) {
      rows.push({ time: times[at] + step, at: undefined });
    }
  });
  return rows.at(-1).time < last ? [...rows, { time: last, at: undefined }] : rows;
}

/** The layers of what is shown, the lowest first: of each series, what is in use, and TIME_WAIT. */
function layersOf(series, isShown) {
  const shown = series.map((one, number) => ({ one, number })).filter(({ number }) => isShown(number));
  return shown.flatMap(({ one, number }) => [
    { number, isTimeWait: false, values: one.in_use },
    { number, isTimeWait: true, values: one.time_wait },
  ]);
}

/** Each layer on top of the ones before. */
function stacked(layers, rows) {
  const below = new Array(rows.length).fill(0);
  return layers.map(({ values }) =>
    rows.map(({ at }, row) => (at === undefined ? null : (below[row] += values[at]))),
  );
}

const timeFormat = new Intl.DateTimeFormat("en-CA", {
  timeZone: zone,
  year: "numeric",
  month: "2-digit",
  day: "2-digit",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});

/** A moment as the rest of the page writes it, to the fraction of a second that the step has. */
function timeText(seconds, step) {
  const part = Object.fromEntries(
    timeFormat.formatToParts(new Date(Math.floor(seconds) * 1000)).map(({ type, value }) => [type, value]),
  );
  const fraction = step < 1 ? (seconds % 1).toFixed(2).slice(1) : "";
  return `${part.year}-${part.month}-${part.day} ${part.hour}:${part.minute}:${part.second}${fraction}`;
}
