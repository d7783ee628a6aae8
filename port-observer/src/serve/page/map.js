// The map of the ephemeral range: what is on its ports, in cells of as many ports each.

const MOST_CELLS = 512;
const mapFigure = document.getElementById("map");
const mapChoice = document.getElementById("map-of");
const mapPlace = document.getElementById("map-cells");
const mapCanvas = mapPlace.querySelector("canvas");

/** What is shown; `cursor`: the cell of the keyboard; `pointed`: that of the pointer. */
const mapped = { map: undefined, layout: undefined, cursor: 0, pointed: undefined, isAsking: false };

/** Which namespaces can be chosen: those whose range is known. */
function showMapChoice(namespaces) {
  const known = namespaces.filter(({ ephemeral_range: range }) => range);
  const choices = known.flatMap(({ netns }) =>
    ["tcp", "udp"].map((protocol) => ({
      value: `netns=${netns}&protocol=${protocol}`,
      text: `${namespaceName(netns)}, ${protocol}`,
    })),
  );
  const options = [...mapChoice.options].slice(1);
  const isSame = (option, at) => option.value === choices[at].value && option.textContent === choices[at].text;
  if (options.length === choices.length && options.every(isSame)) return;
  const { value } = mapChoice;
  options.forEach((option) => option.remove());
  mapChoice.append(...choices.map(({ value, text }) => element("option", { value, textContent: text })));
  mapChoice.value = choices.some((choice) => choice.value === value) ? value : "";
}

/** What is asked for: what was chosen, else what the picture is of, else the first. */
function wantedMap() {
  if (mapChoice.value !== "") return mapChoice.value;
  const choices = [...mapChoice.options].slice(1).map(({ value }) => value);
  const { space } = known.get(chosen.key) ?? {};
  const shown = space && `netns=${space.netns}&protocol=${space.protocol}`;
  return choices.includes(shown) ? shown : choices[0];
}

async function askMap() {
  const wanted = wantedMap();
  if (wanted === undefined || mapped.isAsking) return;
  mapped.isAsking = true;
  try {
    const map = await ask(`map?${wanted}&cells=${MOST_CELLS}`);
    // Another one may have been chosen meanwhile.
    if (wanted === wantedMap()) showMap(map);
  } catch (error) {
    // What is not answered for long, the line above says.
    if (mapped.map === undefined) document.getElementById("map-none").textContent = `There is no map yet: ${error.message}.`;
  } finally {
    mapped.isAsking = false;
  }
}

function showMap(map) {
  mapped.map = map;
  mapped.cursor = Math.min(mapped.cursor, map.cells.length - 1);
  if (mapped.pointed >= map.cells.length) mapped.pointed = undefined;
  mapFigure.hidden = false;
  document.getElementById("map-none").hidden = true;
  const first = map.cells[0].min;
  const last = map.cells.at(-1).max;
  document.getElementById("range-ports").textContent =
    `${first}–${last}, ${map.protocol}, network namespace ${namespaceName(map.netns)}`;
  const each = map.ports_per_cell === 1 ? "is a port" : `is ${number(map.ports_per_cell)} ports`;
  document.getElementById("map-each").textContent =
    `Each cell ${each}, filled from below. Point at one, or move with the arrow keys.`;
  mapPlace.setAttribute("aria-valuemin", first);
  mapPlace.setAttribute("aria-valuemax", last);
  for (const { key, count } of mapKey) {
    if (count) count.textContent = number(map.cells.reduce((sum, cell) => sum + cell[key], 0));
  }
  drawMap();
}

function drawMap() {
  const { map, cursor, pointed } = mapped;
  if (map === undefined || mapPlace.clientWidth === 0) return;
  mapped.layout = layoutOf(map.cells.length, mapPlace.clientWidth);
  const hasFocus = document.activeElement === mapPlace;
  drawCells(mapCanvas, map.cells, mapped.layout, pointed ?? (hasFocus ? cursor : undefined));
  const shown = map.cells[pointed ?? cursor];
  document.getElementById("map-cell").textContent = cellText(shown);
  mapPlace.setAttribute("aria-valuenow", map.cells[cursor].min);
  mapPlace.setAttribute("aria-valuetext", cellText(map.cells[cursor]));
}

/** What a cell has, and who. */
function cellText(cell) {
  const name = cell.min === cell.max ? `Port ${cell.min}` : `Ports ${cell.min}–${cell.max}`;
  const counts = PORT_STATES.filter(({ key }) => cell[key] > 0).map(({ key, name }) => `${number(cell[key])} ${name}`);
  const full = isFull(cell) ? " (full)" : "";
  const held = (cell.holders ?? []).map((holder) => `${nameOf(asSeries(holder))}: ${number(holder.ports)}`);
  if (cell.others > 0) held.push(`others: ${number(cell.others)}`);
  return `${name}${full}: ${counts.join(", ")}.${held.length > 0 ? ` Held by ${held.join(", ")}.` : ""}`;
}

/** The legend, with how many ports of the whole range each is. */
const mapKey = [...PORT_STATES, { key: "full", name: "red frame and corner: no port is free" }].map(({ key, name }) => {
  const canvas = element("canvas", { className: "swatch" });
  const count = key === "full" ? undefined : element("span");
  const text = count ? ` ${name} ` : ` ${name}`;
  document.getElementById("map-key").append(element("li", {}, canvas, text, ...(count ? [count] : [])));
  return { key, canvas, count };
});

function paintMap() {
  for (const { key, canvas } of mapKey) drawSample(canvas, key);
  drawMap();
}

/** The cell below the pointer. */
function cellAt({ clientX, clientY }) {
  const { map, layout } = mapped;
  if (map === undefined) return undefined;
  const box = mapCanvas.getBoundingClientRect();
  const column = Math.floor((clientX - box.left - ROW_LABEL) / layout.side);
  const row = Math.floor((clientY - box.top) / layout.side);
  if (column < 0 || column >= layout.columns || row < 0) return undefined;
  const at = row * layout.columns + column;
  return at < map.cells.length ? at : undefined;
}

mapPlace.addEventListener("pointermove", (event) => {
  const pointed = cellAt(event);
  if (pointed === mapped.pointed) return;
  mapped.pointed = pointed;
  drawMap();
});
mapPlace.addEventListener("pointerdown", (event) => {
  mapped.cursor = cellAt(event) ?? mapped.cursor;
  drawMap();
});
mapPlace.addEventListener("pointerleave", () => {
  mapped.pointed = undefined;
  drawMap();
});
mapPlace.addEventListener("keydown", (event) => {
  const { map, layout, cursor } = mapped;
  if (map === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
  const last = map.cells.length - 1;
  const to = {
    ArrowLeft: cursor - 1,
    ArrowRight: cursor + 1,
    ArrowUp: cursor - layout.columns,
    ArrowDown: cursor + layout.columns,
    Home: 0,
    End: last,
  }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  mapped.pointed = undefined;
  mapped.cursor = Math.min(Math.max(to, 0), last);
  drawMap();
});
for (const name of ["focus", "blur"]) mapPlace.addEventListener(name, drawMap);
mapChoice.addEventListener("change", askMap);
new ResizeObserver(drawMap).observe(mapPlace);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paintMap);
paintMap();
