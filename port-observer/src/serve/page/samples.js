// What the spaces were like lately: a sample a second, in bounded memory.

/** How many seconds are kept. */
const SECONDS = 900;
/** An answer that comes late says nothing else than the one before it, if it is no later than this. */
const LATE_SECONDS = 5;
/** How many spaces. */
const MOST_SPACES = 24;
/** How many names have a layer of their own. */
const LAYERS = 8;

/** The spaces that are known, by their key; the one seen last is the last. */
const known = new Map();

/** Which space it is. */
function keyOf({ kind, netns, protocol, source, destination, address }) {
  return JSON.stringify([kind, netns, protocol, source ?? address, destination?.address, destination?.port]);
}

/** Which name of a holder it is. */
function nameKey({ name, container }) {
  return JSON.stringify([name, container]);
}

/** Takes an answer of `top`. */
function takeSamples(top) {
  const second = Math.floor(Date.parse(top.time) / 1000);
  const seen = new Set();
  for (const space of top.spaces) {
    const key = keyOf(space);
    seen.add(key);
    const of = known.get(key) ?? { key, samples: [], refused: new Map(), names: new Map() };
    known.delete(key);
    known.set(key, of);
    of.space = space;
    addSample(of, second, space);
  }
  if (top.spaces.length < top.most_spaces) {
    for (const [key, of] of known) {
      if (seen.has(key)) continue;
      // It would be listed if anybody held a port of it.
      const { capacity } = of.space;
      of.space = { ...of.space, used: 0, headroom: capacity, used_percent: 0, holders: [] };
      addSample(of, second, of.space);
    }
  }
  for (const key of known.keys()) {
    if (known.size <= MOST_SPACES) break;
    if (!seen.has(key) && key !== chosen.key) known.delete(key);
  }
}

/** Of a second that was looked at more than once, the fullest moment stays. */
function addSample(of, second, { used, capacity, holders }) {
  const last = of.samples.at(-1);
  if (last?.second === second && last.used > used) return;
  if (last?.second === second) of.samples.pop();
  else if (last && second - last.second <= LATE_SECONDS) {
    for (let late = last.second + 1; late < second; late++) of.samples.push({ ...last, second: late });
  }
  const held = new Map();
  for (const holder of holders) {
    held.set(nameKey(holder), holder);
    of.names.set(nameKey(holder), { name: holder.name, pid: holder.pid, container: holder.container });
  }
  of.samples.push({ second, used, capacity, held });
  while (of.samples[0].second <= second - SECONDS) of.samples.shift();
  const first = of.samples[0].second;
  for (const time of of.refused.keys()) {
    if (time < first) of.refused.delete(time);
  }
  if (of.names.size > 4 * LAYERS) {
    const held = new Set(of.samples.flatMap((sample) => [...sample.held.keys()]));
    for (const name of of.names.keys()) {
      if (!held.has(name)) of.names.delete(name);
    }
  }
}

/** Takes a call that was refused a port of a space. */
function takeRefused({ space, time, repeated }) {
  const of = space && known.get(keyOf(space));
  if (!of) return;
  const second = Math.floor(Date.parse(time) / 1000);
  of.refused.set(second, (of.refused.get(second) ?? 0) + 1 + (repeated ?? 0));
}

/** The names that have a layer: those that held the most, in an order that stays. */
function layerNames(of, before) {
  const most = new Map();
  for (const { held } of of.samples) {
    for (const [name, { in_use, time_wait }] of held) {
      most.set(name, Math.max(most.get(name) ?? 0, in_use + time_wait));
    }
  }
  const largest = [...most].sort(([, a], [, b]) => b - a).slice(0, LAYERS);
  const names = new Set(largest.map(([name]) => name));
  const kept = before.filter((name) => names.has(name));
  return [...kept, ...[...names].filter((name) => !kept.includes(name))];
}

/** The columns of a picture, as a report has them. */
function timelineOf(of, names) {
  const { samples } = of;
  const column = (value) => samples.map(value);
  const held = (name) => ({
    in_use: column((sample) => sample.held.get(name)?.in_use ?? 0),
    time_wait: column((sample) => sample.held.get(name)?.time_wait ?? 0),
  });
  const series = names.map((name) => {
    const { container, ...who } = of.names.get(name);
    return { ...who, container: container && { name: container }, ...held(name) };
  });
  const began = samples[0].second;
  const rest = (sample, at) => {
    const named = series.reduce((sum, one) => sum + one.in_use[at] + one.time_wait[at], 0);
    return Math.max(0, sample.used - named);
  };
  return {
    began: new Date(began * 1000).toISOString(),
    step_seconds: 1,
    bucket: column(({ second }) => second - began),
    used: column(({ used }) => used),
    capacity: column(({ capacity }) => capacity),
    refused: column(({ second }) => of.refused.get(second) ?? 0),
    series,
    others: { in_use: column(rest), time_wait: column(() => 0) },
  };
}

