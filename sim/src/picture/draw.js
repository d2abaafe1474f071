"use strict";
// The diagram: time runs to the right, each node and client has a lane, each key that somebody believed to own has a row.
// Everything is drawn anew for each view; what lies under the pointer is found among what was drawn.
const data = JSON.parse(document.getElementById("data").textContent);
const canvas = document.getElementById("canvas");
const pen = canvas.getContext("2d");
const tip = document.getElementById("tip");
const on = (id) => document.getElementById(id).checked;
const COLOURS = { vote: "#2f6fd0", write: "#0a8a4b", query: "#7b52c7", refusal: "#c2570c", call: "#333c47", relay: "#0e8ea3", other: "#a7b1bc" };
const CLASS = {
  prepare: "vote", promise: "vote", accept: "write", accepted: "write", query: "query", has: "query", "not-promised": "refusal",
  "not-accepted": "refusal", full: "refusal", joining: "refusal", request: "call", answer: "call", cancel: "call",
  forward: "relay", "forward-answer": "relay", "forward-cancel": "relay",
};
const LEFT = 116, RIGHT = 16, AXIS = 24, ROW = 26, FONT = '11px system-ui, "DejaVu Sans", sans-serif';
let view = { from: 0, to: Math.max(1, data.interest) }, width = 0, height = 0, spots = [], rows = {}, laneY = [];

const clock = (us) => (us / 1e6).toFixed(6).replace(/(\.\d{3})/, "$1 ") + " s";
const x = (time) => LEFT + (time - view.from) / (view.to - view.from) * (width - LEFT - RIGHT);
const time = (px) => view.from + (px - LEFT) / (width - LEFT - RIGHT) * (view.to - view.from);
const chosen = () => document.getElementById("key").value;
const ofKey = (key) => chosen() === "" || key === null || String(key) === chosen();

function step(least) {
  for (let unit = 1; ; unit *= 10) for (const times of [1, 2, 5]) if (unit * times >= least) return unit * times;
}

function label(us, unit) {
  return unit >= 1e6 ? (us / 1e6).toFixed(0) + " s" : unit >= 1e3 ? (us / 1e6).toFixed(Math.max(0, 6 - Math.floor(Math.log10(unit)))) + " s" : us.toLocaleString("en") + " µs";
}

// A lane's local time, by linear stretches between known readings.
function local(lane, at) {
  const points = data.lanes[lane].clock;
  let low = 0, high = points.length - 1;
  while (low < high) { const mid = (low + high + 1) >> 1; if (points[mid][0] <= at) low = mid; else high = mid - 1; }
  const point = points[low];
  return point ? { since: point[1] + (at - point[0]) * point[2] / 1e6, ppm: point[2] - 1e6, boot: point[3], from: point[0], until: points[low + 1] ? points[low + 1][0] : Infinity } : null;
}

function spot(kind, shape, text) { spots.push({ kind, shape, text }); }

function rect(from, until, y, h, fill, text) {
  const a = Math.max(LEFT, x(from)), b = Math.min(width - RIGHT, x(until));
  if (b < LEFT || a > width - RIGHT) return null;
  const w = Math.max(1.5, b - a);
  pen.fillStyle = fill;
  pen.fillRect(a, y, w, h);
  if (text) spot("box", [a, y, w, h], text);
  return [a, w];
}

function words(text, at, y, colour, room) {
  if (room !== undefined && pen.measureText(text).width > room) return;
  pen.fillStyle = colour;
  pen.fillText(text, at, y);
}

function axis() {
  const unit = step((view.to - view.from) / Math.max(2, (width - LEFT) / 110));
  pen.strokeStyle = "#eceff3";
  for (let at = Math.ceil(view.from / unit) * unit; at <= view.to; at += unit) {
    pen.beginPath(); pen.moveTo(x(at), AXIS - 4); pen.lineTo(x(at), height); pen.stroke();
    words(label(at, unit), x(at) + 3, AXIS - 9, "#5b6774");
  }
  words("true time", 8, AXIS - 9, "#5b6774");
  const together = Math.abs(x(data.quiet) - x(data.end)) < 14;
  for (const [at, name] of together ? [[data.end, "faults over, end"]] : [[data.quiet, "all faults are over"], [data.end, "end"]]) {
    if (at < view.from || at > view.to) continue;
    pen.strokeStyle = "#8a96a3"; pen.setLineDash([5, 4]);
    pen.beginPath(); pen.moveTo(x(at), AXIS); pen.lineTo(x(at), height); pen.stroke(); pen.setLineDash([]);
    pen.save(); pen.translate(x(at) - 4, height - 6); pen.rotate(-Math.PI / 2); words(name, 0, 0, "#5b6774"); pen.restore();
  }
}

function layOut() {
  rows = { faults: AXIS + 4 };
  const lines = [];
  data.faults.forEach((fault) => {
    let line = lines.findIndex((end) => end <= fault.from);
    if (line < 0) { line = lines.length; lines.push(0); }
    lines[line] = Math.max(fault.until, fault.from + data.end / 60);
    fault.line = line;
  });
  rows.slim = Math.max(5, Math.min(17, 90 / Math.max(1, lines.length)));
  let y = rows.faults + lines.length * rows.slim + 8;
  rows.keys = {};
  const keys = [...new Set(data.beliefs.map((belief) => belief.key))].sort((a, b) => a - b).filter(ofKey);
  const tall = Math.max(12, Math.min(ROW, height * 0.3 / Math.max(1, keys.length)));
  rows.tall = tall;
  for (const key of keys) { rows.keys[key] = y; y += tall + 3; }
  y += 14;
  const room = height - y - 14;
  const gap = room / Math.max(1, data.lanes.length - 0.4);
  laneY = data.lanes.map((_, number) => y + gap * (number + 0.35));
  rows.gap = gap;
}

function faults() {
  for (const fault of data.faults) {
    const y = rows.faults + fault.line * rows.slim;
    const box = rect(fault.from, fault.until, y, rows.slim - 2, "#f6dfc0", "fault: " + fault.text + "\n" + clock(fault.from) + " to " + clock(fault.until));
    if (box && rows.slim > 11) words(fault.text, box[0] + 3, y + rows.slim - 6, "#7a5200", Math.max(box[1] - 4, 0) || undefined);
  }
  if (data.faults.length) words("faults", 8, rows.faults + Math.min(rows.slim, 17) - 6, "#7a5200");
}

function beliefs() {
  for (const [key, y] of Object.entries(rows.keys)) {
    words("k" + key + " owned by", 8, y + rows.tall / 2 + 4, "#1f6b3a");
    pen.strokeStyle = "#e3e8ed"; pen.beginPath(); pen.moveTo(LEFT, y + rows.tall); pen.lineTo(width - RIGHT, y + rows.tall); pen.stroke();
  }
  const half = rows.tall / 2;
  for (const belief of data.beliefs) {
    const y = rows.keys[belief.key];
    if (y === undefined) continue;
    const text = "c" + belief.client + " believes that it owns k" + belief.key + "\ntoken " + belief.token + "\n" + clock(belief.from) + " to " + clock(belief.until);
    const up = belief.row, top = y + (belief.clash ? up * half : 0), h = belief.clash ? half - 1 : rows.tall - 2;
    const box = rect(belief.from, belief.until, top, h, belief.row ? "#a9d7e8" : "#a5d8b4", text);
    if (box) words("c" + belief.client + " · " + belief.token.slice(-6), box[0] + 3, top + h / 2 + 4, "#103c20", box[1] - 4);
    const lane = laneY[data.nodes + belief.client];
    if (lane !== undefined) rect(belief.from, belief.until, lane - 5, 10, "rgba(64,170,98,0.45)", text);
  }
  for (const clash of data.overlaps) {
    if (rows.keys[clash.key] === undefined) continue;
    const text = "k" + clash.key + " is owned twice\n" + clock(clash.from) + " to " + clock(clash.until) + "\nc" + clash.clients.join(" and c");
    rect(clash.from, clash.until, rows.keys[clash.key] + half - 3, 5, "#e2003a", text);
    for (const client of clash.clients) rect(clash.from, clash.until, laneY[data.nodes + client] - 6, 12, "rgba(226,0,58,0.8)", text);
    rect(clash.from, clash.until, AXIS, height - AXIS, "rgba(226,0,58,0.10)");
  }
}

function lanes() {
  data.lanes.forEach((lane, number) => {
    const y = laneY[number];
    pen.strokeStyle = "#77838f"; pen.lineWidth = 1;
    pen.beginPath(); pen.moveTo(LEFT, y); pen.lineTo(width - RIGHT, y); pen.stroke();
    for (const gone of lane.down) rect(gone[0], gone[1], y - 7, 14, "#9aa4af", lane.name + " is down\n" + clock(gone[0]) + " to " + clock(gone[1]));
    for (const still of lane.still) rect(still[0], still[1], y - 7, 14, "#f4d58a", lane.name + " stands still\n" + clock(still[0]) + " to " + clock(still[1]));
    pen.fillStyle = "#fff"; pen.fillRect(0, y - 15, LEFT - 2, 30);
    pen.font = "bold 12px system-ui, 'DejaVu Sans', sans-serif"; words(lane.name, 8, y + 1, "#1d2733"); pen.font = FONT;
    words(lane.kind, 32, y + 1, "#5b6774");
    words(lane.rate, 8, y + 13, "#8a96a3");
    if (on("ticks")) ticks(number, y);
  });
}

function ticks(number, y) {
  const unit = step((view.to - view.from) / Math.max(2, (width - LEFT) / 90));
  let at = view.from;
  for (let guard = 0; at < view.to && guard < 500; guard += 1) {
    const now = local(number, Math.max(at, 0));
    if (!now) return;
    const rate = 1e6 + now.ppm;
    let reading = Math.ceil(now.since / unit) * unit;
    for (let drawn = 0; drawn < 400; drawn += 1, reading += unit) {
      const when = at + (reading - now.since) * 1e6 / rate;
      if (when >= now.until || when > view.to) break;
      const px = x(when);
      pen.strokeStyle = "#3d4a57"; pen.beginPath(); pen.moveTo(px, y - 5); pen.lineTo(px, y + 5); pen.stroke();
      if (rows.gap > 34) { pen.font = "9px system-ui, 'DejaVu Sans', sans-serif"; words(label(reading, unit).replace(" s", ""), px + 2, y + 13, "#8a96a3"); pen.font = FONT; }
    }
    if (now.until === Infinity) return;
    at = now.until;
  }
}

function shown(message) {
  if (!ofKey(message.key)) return false;
  const type = CLASS[message.kind] || "other";
  if (type === "other") return on("rest");
  return type === "call" ? on("calls") : on("rounds");
}

function messages() {
  const visible = data.messages.filter((m) => shown(m) && m.at <= view.to && Math.max(m.at + Math.max(m.takes[0] || 0, m.takes[1] || 0), m.at + data.trip) >= view.from);
  const busy = visible.length > 260, heads = visible.length < 1200;
  for (const message of visible) {
    const type = CLASS[message.kind] || "other", y1 = laneY[message.from], y2 = laneY[message.to];
    const text = message.kind + " " + message.number + ", " + data.lanes[message.from].name + " to " + data.lanes[message.to].name +
      (message.key === null ? "" : ", k" + message.key) + "\nsent " + clock(message.at) + "\n" +
      (message.cut ? "cut off" : message.takes[0] === null ? "LOST" : "arrives " + clock(message.at + message.takes[0]) + ", after " + (message.takes[0] / 1e3).toFixed(3) + " ms") +
      (message.takes[1] === null ? "" : "\na copy arrives " + clock(message.at + message.takes[1])) + "\n" + message.text;
    pen.strokeStyle = COLOURS[type]; pen.lineWidth = type === "other" ? 0.7 : 1.2;
    pen.globalAlpha = busy ? 0.6 : 0.9;
    message.takes.forEach((takes, copy) => {
      if (takes === null && copy === 1) return;
      if (takes === null) return lost(message, y1, y2, text);
      line(message, x(message.at), y1, x(message.at + takes), y2, copy === 1, heads, text);
    });
    pen.globalAlpha = 1;
  }
  pen.lineWidth = 1;
  return visible.length;
}

function line(message, x1, y1, x2, y2, copy, heads, text) {
  pen.setLineDash(copy ? [4, 3] : []);
  pen.beginPath(); pen.moveTo(x1, y1); pen.lineTo(x2, y2); pen.stroke(); pen.setLineDash([]);
  spot("line", [x1, y1, x2, y2], text);
  const long = Math.hypot(x2 - x1, y2 - y1);
  if (heads && long > 8) {
    const turn = Math.atan2(y2 - y1, x2 - x1);
    pen.fillStyle = pen.strokeStyle; pen.beginPath(); pen.moveTo(x2, y2);
    for (const side of [0.35, -0.35]) pen.lineTo(x2 - 7 * Math.cos(turn + side), y2 - 7 * Math.sin(turn + side));
    pen.fill();
  }
  if (Math.abs(x2 - x1) > 55 && long > 70) {
    pen.save(); pen.translate((x1 + x2) / 2, (y1 + y2) / 2); pen.rotate(Math.atan2(y2 - y1, x2 - x1));
    if (Math.cos(Math.atan2(y2 - y1, x2 - x1)) < 0) pen.rotate(Math.PI);
    words(message.kind, -pen.measureText(message.kind).width / 2, -3, pen.strokeStyle); pen.restore();
  }
}

function lost(message, y1, y2, text) {
  const x1 = x(message.at), x2 = x(message.at + data.trip / 2), y = (y1 + y2) / 2;
  pen.setLineDash([2, 3]); pen.beginPath(); pen.moveTo(x1, y1); pen.lineTo(x2, y); pen.stroke(); pen.setLineDash([]);
  pen.strokeStyle = message.cut ? "#7a5200" : "#d1002c"; pen.lineWidth = 2; pen.globalAlpha = 1;
  pen.beginPath();
  if (message.cut) { pen.moveTo(x2 - 4, y); pen.lineTo(x2 + 4, y); }
  else { pen.moveTo(x2 - 4, y - 4); pen.lineTo(x2 + 4, y + 4); pen.moveTo(x2 + 4, y - 4); pen.lineTo(x2 - 4, y + 4); }
  pen.stroke(); pen.lineWidth = 1;
  spot("line", [x1, y1, x2, y], text);
}

const MARKS = { boot: ["▲", "#0a8a4b"], crash: ["✖", "#b00020"], lost: ["∅", "#b00020"], standing: ["●", "#2f6fd0"], pause: ["", ""], resume: ["", ""] };

function moments() {
  const offset = {};
  for (const moment of data.moments) {
    if (moment.at < view.from || moment.at > view.to) continue;
    const text = moment.text + "\n" + clock(moment.at);
    if (moment.lane === null) {
      pen.strokeStyle = "#b9c2cb"; pen.beginPath(); pen.moveTo(x(moment.at), AXIS); pen.lineTo(x(moment.at), height); pen.stroke();
      spot("line", [x(moment.at), AXIS, x(moment.at), height], text);
      continue;
    }
    const [sign, colour] = MARKS[moment.what] || ["●", "#5b6774"];
    if (!sign) continue;
    const px = x(moment.at), y = laneY[moment.lane] - 9, place = moment.lane + "/" + Math.round(px / 9);
    offset[place] = (offset[place] || 0) + 1;
    words(sign, px - 4, y - (offset[place] - 1) * 9, colour);
    spot("box", [px - 5, y - 9 - (offset[place] - 1) * 9, 10, 10], data.lanes[moment.lane].name + ": " + text);
  }
  const taken = {};
  for (const op of data.operations) {
    if (!ofKey(op.key) || op.at > view.to || (op.answered || op.at) < view.from) continue;
    const lane = laneY[data.nodes + op.client];
    if (lane === undefined) continue;
    const px = Math.max(LEFT, x(op.at));
    pen.fillStyle = "#333c47"; pen.beginPath(); pen.arc(x(op.at), lane, 3, 0, 7); if (x(op.at) >= LEFT) pen.fill();
    const text = "c" + op.client + ": " + op.text + "\nasked " + clock(op.at) + (op.answered === null ? "\nnever answered" : "\nanswered " + clock(op.answered)) + "\n" + op.verdict;
    spot("box", [px - 4, lane - 6, 8, 12], text);
    // A label that would run into the one before goes a line higher, or is left out.
    const ends = px + 9 + pen.measureText(op.word).width, lines = taken[op.client] = taken[op.client] || [0, 0, 0];
    const free = lines.findIndex((end, line) => end <= px && 24 + line * 11 < rows.gap);
    if (free >= 0) { words(op.word, px + 3, lane - 8 - free * 11, "#333c47"); lines[free] = ends; }
  }
}

function violations() {
  let ends = 0;
  data.violations.forEach((violation) => {
    for (const at of violation.at) {
      if (at < view.from || at > view.to) continue;
      pen.strokeStyle = "#b00020"; pen.setLineDash([6, 3]); pen.lineWidth = 1.5;
      pen.beginPath(); pen.moveTo(x(at), AXIS - 2); pen.lineTo(x(at), height); pen.stroke(); pen.setLineDash([]); pen.lineWidth = 1;
      const room = 16 + pen.measureText(violation.rule).width, left = Math.min(x(at) + 3, width - RIGHT - room);
      if (left > ends) { words("✗ " + violation.rule, left, height - 4, "#b00020"); ends = left + room; }
      spot("line", [x(at), AXIS, x(at), height], violation.rule + ": " + violation.story + "\n" + clock(at));
    }
  });
}

function draw() {
  const scale = window.devicePixelRatio || 1;
  width = canvas.clientWidth; height = canvas.clientHeight;
  canvas.width = width * scale; canvas.height = height * scale;
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.font = FONT;
  spots = [];
  pen.clearRect(0, 0, width, height);
  layOut();
  axis();
  pen.save(); pen.beginPath(); pen.rect(LEFT, 0, width - LEFT - RIGHT, height); pen.clip();
  const count = messages();
  pen.restore();
  lanes(); faults(); beliefs();
  pen.save(); pen.beginPath(); pen.rect(LEFT - 6, 0, width, height); pen.clip();
  moments(); violations();
  pen.restore();
  document.getElementById("range").textContent = clock(view.from) + " to " + clock(view.to) + ", " + count + " messages";
}

function show(from, to) {
  const whole = data.end * 1.05 + 1, least = 20, span = Math.max(least, Math.min(to - from, whole));
  const begin = Math.max(0, Math.min(from, whole - span));
  view = { from: begin, to: begin + span };
  draw();
}

function zoom(factor, at) { const span = (view.to - view.from) * factor; show(at - (at - view.from) * factor, at - (at - view.from) * factor + span); }
const middle = () => (view.from + view.to) / 2;
function pan(part) { const by = (view.to - view.from) * part; show(view.from + by, view.to + by); }

function distance(shape, px, py) {
  const [x1, y1, x2, y2] = shape, dx = x2 - x1, dy = y2 - y1;
  const part = Math.max(0, Math.min(1, ((px - x1) * dx + (py - y1) * dy) / (dx * dx + dy * dy || 1)));
  return Math.hypot(px - x1 - part * dx, py - y1 - part * dy);
}

function hover(event) {
  const px = event.offsetX, py = event.offsetY;
  const boxes = spots.filter((s) => s.kind === "box" && px >= s.shape[0] - 1 && px <= s.shape[0] + s.shape[2] + 1 && py >= s.shape[1] && py <= s.shape[1] + s.shape[3]);
  let text = boxes.length ? boxes[boxes.length - 1].text : "", best = 6;
  if (!text) for (const s of spots) if (s.kind === "line") { const away = distance(s.shape, px, py); if (away < best) { best = away; text = s.text; } }
  if (!text && px > LEFT) {
    const lane = laneY.findIndex((y) => Math.abs(y - py) < Math.min(12, rows.gap / 2)), at = time(px), now = lane < 0 ? null : local(lane, Math.max(0, at));
    text = clock(at) + (now ? "\n" + data.lanes[lane].name + "'s clock: " + clock(now.since) + " since " + (lane < data.nodes ? "its boot" : "the start") + ", " + (now.ppm >= 0 ? "+" : "") + now.ppm + " ppm" : "");
  }
  tip.textContent = text;
  tip.style.display = text ? "block" : "none";
  tip.style.left = Math.min(px + 14, width - Math.min(530, tip.offsetWidth + 10)) + "px";
  tip.style.top = Math.min(py + 14, height - tip.offsetHeight - 4) + "px";
}

let grip = null;
canvas.addEventListener("wheel", (event) => { event.preventDefault(); if (event.shiftKey) pan(Math.sign(event.deltaY || event.deltaX) * 0.1); else zoom(event.deltaY > 0 ? 1.25 : 0.8, time(Math.max(LEFT, event.offsetX))); }, { passive: false });
canvas.addEventListener("mousedown", (event) => { grip = { px: event.offsetX, from: view.from, to: view.to }; });
window.addEventListener("mouseup", () => { grip = null; });
canvas.addEventListener("mousemove", (event) => {
  if (!grip) return hover(event);
  const by = (grip.px - event.offsetX) / (width - LEFT - RIGHT) * (grip.to - grip.from);
  show(grip.from + by, grip.to + by);
});
canvas.addEventListener("mouseleave", () => { tip.style.display = "none"; });
const press = { in: () => zoom(0.5, middle()), out: () => zoom(2, middle()), left: () => pan(-0.5), right: () => pan(0.5), fit: () => show(0, data.end * 1.05) };
for (const [id, act] of Object.entries(press)) document.getElementById(id).addEventListener("click", act);
window.addEventListener("keydown", (event) => {
  const act = { "+": press.in, "-": press.out, ArrowLeft: press.left, ArrowRight: press.right, 0: press.fit }[event.key];
  if (act && event.target.tagName !== "SELECT") { event.preventDefault(); act(); }
});
for (const id of ["key", "rounds", "calls", "rest", "ticks"]) document.getElementById(id).addEventListener("change", draw);
for (let key = 0; key < data.keys; key += 1) document.getElementById("key").append(new Option("k" + key, String(key)));
document.querySelectorAll("#violations li").forEach((item, number) => item.addEventListener("click", () => {
  const at = data.violations[number].at[0];
  if (at !== undefined) show(at - data.trip * 30, at + data.trip * 30);
}));
window.addEventListener("resize", draw);
// What to show at first can be said behind `#`, in microseconds: `#from=1000000&to=1500000&key=0&rest=1`.
const wanted = new URLSearchParams(location.hash.slice(1));
if (wanted.has("key")) document.getElementById("key").value = wanted.get("key");
for (const id of ["rounds", "calls", "rest", "ticks"]) if (wanted.has(id)) document.getElementById(id).checked = wanted.get(id) === "1";
const number = (name, usual) => Number.isFinite(Number(wanted.get(name))) && wanted.has(name) ? Number(wanted.get(name)) : usual;
show(number("from", 0), number("to", data.interest));
