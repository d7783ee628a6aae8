// What pages are made of.

/** An element with these properties and children. */
function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** A colour of the theme that is in force. */
function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** How axes are drawn. */
function axisStyle() {
  return {
    stroke: color("quiet"),
    grid: { stroke: color("line"), width: 1 },
    ticks: { stroke: color("line"), width: 1 },
    font: "12px system-ui, sans-serif",
  };
}

/** Where calls were refused, from when to when: a shade over it, and a mark on top. */
function drawRefused(plot, stretches) {
  const { ctx: context, bbox } = plot;
  const right = bbox.left + bbox.width;
  context.save();
  context.fillStyle = color("refused");
  for (const ends of stretches) {
    const [from, to] = ends.map((time) => Math.round(plot.valToPos(time, "x", true)));
    const [x, end] = [Math.max(from, bbox.left), Math.min(Math.max(to, from + 2), right)];
    if (x >= end) continue;
    context.globalAlpha = 0.2;
    context.fillRect(x, bbox.top, end - x, bbox.height);
    context.globalAlpha = 1;
    context.fillRect(x, bbox.top, end - x, 6 * devicePixelRatio);
  }
  context.restore();
}
