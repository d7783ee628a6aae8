// How the cells of the map are drawn: each is filled from below, told apart by pattern as well as by colour.

/** What a port can be, from below. */
const PORT_STATES = [
  { key: "bound", name: "bound or listening" },
  { key: "connected", name: "connected" },
  { key: "time_wait", name: "TIME_WAIT" },
  { key: "reserved", name: "reserved" },
  { key: "free", name: "free" },
];
/** Ends of a cell's side, in pixels, with the gap to the next. */
const [SMALLEST, LARGEST] = [14, 34];
const GAP = 2;
/** Cells are larger as long as all of them are no higher. */
const MAP_HEIGHT = 180;
/** Room for the first port of each row. */
const ROW_LABEL = 44;

/** How so many cells are laid out in this width. */
function layoutOf(count, width) {
  for (let side = LARGEST; ; side--) {
    const columns = Math.max(1, Math.floor((width - ROW_LABEL) / side));
    const rows = Math.ceil(count / columns);
    if (rows * side <= MAP_HEIGHT || side <= SMALLEST) return { side, columns, rows };
  }
}

/** The fill of each state, of the theme that is in force. */
function portFills() {
  const series = color("series").split(" ");
  const marked = (fill, rectangle) => tiled(fill, 6, (context, size) => {
    context.fillStyle = color("ground");
    context.fillRect(...rectangle(size));
  });
  const dot = (size) => [size / 3, size / 3, size / 2, size / 2];
  const bar = (size) => [0, size / 4, size, size / 2];
  return {
    bound: marked(series[3], dot),
    connected: series[0],
    time_wait: striped(series[1]),
    reserved: marked(color("others"), bar),
    free: color("ground"),
    line: color("line"),
    full: color("refused"),
  };
}

/** No port of several is left, and somebody has one. */
function isFull({ min, max, free, connected, time_wait, bound }) {
  return min < max && free === 0 && connected + time_wait + bound > 0;
}

/** Draws a cell with its upper left corner there. */
function drawCell(context, cell, { x, y, side }, fills, full = isFull(cell)) {
  const count = cell.max - cell.min + 1;
  context.fillStyle = fills.free;
  context.fillRect(x, y, side, side);
  let bottom = y + side;
  for (const { key } of PORT_STATES) {
    if (key === "free" || cell[key] === 0) continue;
    // One port of many is seen too.
    const height = Math.min(Math.max((cell[key] / count) * side, 2 * devicePixelRatio), bottom - y);
    context.fillStyle = fills[key];
    context.fillRect(x, bottom - height, side, height);
    bottom -= height;
  }
  const width = (full ? 2 : 1) * devicePixelRatio;
  context.lineWidth = width;
  context.strokeStyle = full ? fills.full : fills.line;
  context.strokeRect(x + width / 2, y + width / 2, side - width, side - width);
  if (!full) return;
  // A corner, for who does not see red.
  context.fillStyle = fills.full;
  context.beginPath();
  context.moveTo(x, y);
  context.lineTo(x + side / 2, y);
  context.lineTo(x, y + side / 2);
  context.fill();
}

/** Draws all cells, with a frame around the one of this number. */
function drawCells(canvas, cells, { side, columns, rows }, framed) {
  const ratio = devicePixelRatio;
  const width = ROW_LABEL + columns * side;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(rows * side * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${rows * side}px`;
  const context = canvas.getContext("2d");
  const fills = portFills();
  const at = (number) => ({
    x: Math.round((ROW_LABEL + (number % columns) * side) * ratio),
    y: Math.round(Math.floor(number / columns) * side * ratio),
    side: Math.round((side - GAP) * ratio),
  });
  context.font = `${11 * ratio}px system-ui, sans-serif`;
  context.textAlign = "right";
  context.textBaseline = "middle";
  cells.forEach((cell, number) => {
    const place = at(number);
    drawCell(context, cell, place, fills);
    if (number % columns !== 0) return;
    context.fillStyle = color("quiet");
    context.fillText(String(cell.min), place.x - 6 * ratio, place.y + place.side / 2);
  });
  if (framed === undefined) return;
  const { x, y, side: inner } = at(framed);
  context.strokeStyle = color("text");
  context.lineWidth = 3 * ratio;
  context.strokeRect(x, y, inner, inner);
}

/** The sample of a state in the legend, or of a full cell. */
function drawSample(canvas, key) {
  const side = Math.round(16 * devicePixelRatio);
  Object.assign(canvas, { width: side, height: side });
  const cell = { min: 1, max: 1, free: 0, connected: 0, time_wait: 0, bound: 0, reserved: 0 };
  const context = canvas.getContext("2d");
  const full = key === "full";
  drawCell(context, { ...cell, [full ? "connected" : key]: 1 }, { x: 0, y: 0, side }, portFills(), full);
}
