// The tables, and how numbers are written.

const namespaceNames = new Map();

function number(value) {
  return value.toLocaleString("en");
}

/** What a namespace is called, or its number. */
function namespaceName(netns) {
  const [name] = namespaceNames.get(netns) ?? [];
  return name === undefined ? String(netns) : `${name} (${netns})`;
}

/** A time as people say it. */
function age(seconds) {
  if (seconds < 0.95) return "less than 1 s";
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 90) return `${seconds.toFixed(0)} s`;
  if (seconds < 90 * 60) return `${(seconds / 60).toFixed(0)} min`;
  return seconds < 36 * 3600 ? `${(seconds / 3600).toFixed(0)} h` : `${(seconds / 86400).toFixed(0)} days`;
}

/** What is farther away is no news. */
const SOON_SECONDS = 3600;

/** When a space is full. */
function fullIn({ headroom, seconds_to_exhaustion: seconds }) {
  if (headroom === 0) return "full";
  return seconds === undefined ? "–" : age(seconds);
}

/** The rows of a table from now on. Rows stay, so that what has the focus keeps it. */
function fill(table, items, make) {
  const [body] = document.getElementById(table).tBodies;
  const kept = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  items.forEach((item, at) => {
    const { key, cells, className = "" } = make(item);
    const row = kept.get(key) ?? element("tr");
    kept.delete(key);
    row.dataset.key = key;
    row.className = className;
    cells.forEach((cell, column) => {
      const { text, head = false, ...properties } = typeof cell === "object" ? cell : { text: cell };
      const place = row.cells[column] ?? row.appendChild(element(head ? "th" : "td"));
      Object.assign(place, properties);
      const within = place.querySelector("button") ?? place;
      if (within.textContent !== text) within.textContent = text;
    });
    if (body.rows[at] !== row) body.insertBefore(row, body.rows[at] ?? null);
  });
  kept.forEach((row) => row.remove());
}

const wide = (text) => ({ text, className: "wide" });

function showSpaces(spaces) {
  const growth = ({ growth_per_second: rate }) => (rate >= 0.05 ? `${rate.toFixed(1)}/s` : "–");
  fill("spaces", spaces, (space) => {
    const [largest] = space.holders;
    return {
      key: keyOf(space),
      className: space.headroom === 0 ? "full" : "",
      cells: [
        { text: space.name, head: true, scope: "row" },
        { text: namespaceName(space.netns), className: "wide text" },
        `${number(space.used)} (${(space.used_percent ?? 0).toFixed(0)}%)`,
        wide(number(space.capacity)),
        number(space.headroom),
        wide(growth(space)),
        fullIn(space),
        { text: largest ? nameOf(asSeries(largest)) : "–", className: "wide text" },
      ],
    };
  });
  const body = document.querySelector("#spaces tbody");
  for (const row of body.rows) {
    const { key } = row.dataset;
    const [head] = row.cells;
    if (!head.querySelector("button")) {
      const button = element("button", { type: "button", textContent: head.textContent });
      button.addEventListener("click", () => {
        choose(key, true);
        markChosen();
      });
      head.replaceChildren(button);
    }
    row.title = `Network namespace ${namespaceName(known.get(key)?.space.netns)}`;
  }
  markChosen();
}

function markChosen() {
  for (const row of document.querySelector("#spaces tbody").rows) {
    const button = row.querySelector("button");
    button?.setAttribute("aria-pressed", String(row.dataset.key === chosen.key));
  }
}

function asSeries({ container, ...who }) {
  return { ...who, container: container && { name: container } };
}

function showOutlook(spaces) {
  const full = spaces.filter(({ headroom }) => headroom === 0);
  const next = spaces
    .filter(({ headroom, seconds_to_exhaustion: seconds }) => headroom > 0 && seconds < SOON_SECONDS)
    .sort((a, b) => a.seconds_to_exhaustion - b.seconds_to_exhaustion)[0];
  const words = [];
  if (full.length > 0) {
    words.push(`No port is left for ${full[0].name}${full.length > 1 ? ` and ${full.length - 1} more` : ""}.`);
  }
  if (next) words.push(`${next.name} is full in about ${age(next.seconds_to_exhaustion)}.`);
  if (words.length === 0 && spaces.length === 0) words.push("Nobody holds an ephemeral port.");
  else if (words.length === 0) words.push("None is full, and none will be soon.");
  const outlook = document.getElementById("outlook");
  outlook.textContent = words.join(" ");
  outlook.className = full.length > 0 ? "refused" : "";
  return full.length;
}

function showNamespaces(namespaces) {
  namespaceNames.clear();
  for (const { netns, names: called } of namespaces) namespaceNames.set(netns, called);
  fill("namespace-list", namespaces, ({ netns, ephemeral_range: range, capacity, tcp, udp }) => ({
    key: String(netns),
    cells: [
      { text: namespaceName(netns), head: true, scope: "row" },
      range ? `${range.min}–${range.max}` : "not known",
      number(tcp.used_ports) + (capacity === undefined ? "" : ` of ${number(capacity)}`),
      number(tcp.connections),
      number(tcp.time_wait),
      wide(number(tcp.listening)),
      wide(number(tcp.bound)),
      number(udp.used_ports),
    ],
  }));
}

function showProcesses(processes) {
  fill("process-list", processes, ({ process, tcp, udp }) => {
    const container = process?.container;
    return {
      key: JSON.stringify([process?.pid, process?.start_time]),
      cells: [
        { text: nameOf({ name: process?.name, pid: process?.pid, container }), head: true, scope: "row" },
        number(tcp.ports),
        number(tcp.established),
        number(tcp.time_wait),
        wide(number(tcp.listening)),
        wide(number(tcp.bound)),
        wide(number(tcp.other)),
        number(udp.ports),
      ],
    };
  });
}

function showMissing(missing) {
  const place = document.getElementById("missing");
  place.hidden = missing.length === 0;
  place.querySelector("summary").textContent = `What this backend can't see (${missing.length})`;
  const list = place.querySelector("ul");
  if (list.children.length !== missing.length) {
    list.replaceChildren(...missing.map((text) => element("li", { textContent: text })));
  }
}

