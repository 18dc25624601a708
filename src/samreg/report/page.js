// The report page: draws slices on canvases, and joins the table of pairs with them. Needs nothing but the page.
"use strict";
(() => {
  const source = document.getElementById("slides");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  if (!data.moving) data.moving = data.before;
  const GREY = 96; // outside the moving image
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;

  // ---- pictures -----------------------------------------------------------------------------------------------
  const cache = new Map();
  const pixels = async (uri, width, height) => {
    if (!uri) return null;
    if (!cache.has(uri)) {
      if (cache.size > 160) cache.delete(cache.keys().next().value);
      cache.set(uri, (async () => {
        const image = new Image();
        image.src = uri;
        await image.decode();
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [width, height];
        const context = canvas.getContext("2d", { willReadFrequently: true });
        context.drawImage(image, 0, 0, width, height);
        return context.getImageData(0, 0, width, height).data;
      })());
    }
    return cache.get(uri);
  };
  const window_ = { level: 50, width: 100 };
  const levels = () => {
    const table = new Uint8ClampedArray(256);
    const low = 2.55 * (window_.level - window_.width / 2);
    const gain = 100 / Math.max(1, window_.width);
    for (let v = 0; v < 256; v++) table[v] = (v - low) * gain;
    return table;
  };
  const luminance = (p, i) => 0.299 * p[i] + 0.587 * p[i + 1] + 0.114 * p[i + 2];

  // ---- figures: one scale for all of a row, whatever the image ----------------------------------------------------
  const figures = $$("figure[data-view]").map((element) => {
    const plane = data.planes[element.dataset.side || "fixed"];
    const canvas = $("canvas", element);
    [canvas.width, canvas.height] = plane.pixels;
    const stage = $(".stage", element);
    (plane.letters || []).forEach((letter, i) => {
      const span = document.createElement("span");
      span.className = "letter " + ["l", "r", "t", "b"][i];
      span.textContent = letter;
      stage.append(span);
    });
    return { element, view: element.dataset.view, plane, canvas, stage, group: element.closest(".views") };
  });
  const longest = Math.max(...figures.map((f) => Math.max(...f.plane.size)));
  const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000];
  const bar = steps.filter((step) => step <= longest / 4).pop() || 1;
  const layout = () => {
    for (const group of new Set(figures.map((f) => f.group))) {
      const here = figures.filter((f) => f.group === group);
      const margin = here.some((f) => f.view === "pairs") ? 2 * gutter() : 0;
      const room = Math.min(...here.map((f) => f.element.clientWidth)) - margin;
      const most = Math.max(260, Math.min(0.66 * innerHeight, 620));
      const scale = Math.max(1e-3, Math.min(room / Math.max(...here.map((f) => f.plane.size[0])),
        most / Math.max(...here.map((f) => f.plane.size[1]))));
      for (const f of here) {
        f.scale = scale;
        const [width, height] = f.plane.size.map((v) => v * scale);
        f.stage.style.width = `${width}px`;
        f.stage.style.height = `${height}px`;
        const ruler = $(".ruler", f.element);
        ruler.style.width = `${bar * scale}px`;
        $("span", ruler).textContent = `${bar} ${data.unit}`;
      }
    }
  };
  const gutter = () => (innerWidth < 700 ? 30 : 40);

  // ---- before and after -------------------------------------------------------------------------------------------
  const state = { slice: data.first, moving: data.partner[data.first], mode: "swipe", other: true, swipe: 50 };
  const mix = {
    swipe: (a, b, i, o, x, width) => (x * 100 < state.swipe * width ? 0 : 1),
    flicker: () => (state.other ? 1 : 0),
  };
  const compare = (context, width, height, fixed, other, outside) => {
    const picture = context.createImageData(width, height);
    const out = picture.data;
    const table = levels();
    const choose = mix[state.mode];
    for (let p = 0, i = 0; p < width * height; p++, i += 4) {
      const beyond = outside && outside[i] > 127;
      out[i + 3] = 255;
      if (choose) {
        const from = choose(fixed, other, i, 0, p % width, width) ? other : fixed;
        for (let c = 0; c < 3; c++) out[i + c] = from === other && beyond ? GREY : table[from[i + c]];
        continue;
      }
      const a = table[Math.round(luminance(fixed, i))];
      const b = table[Math.round(luminance(other, i))];
      if (beyond) out[i] = out[i + 1] = out[i + 2] = GREY / 2 + a / 4;
      else if (state.mode === "blend") { out[i] = out[i + 2] = b; out[i + 1] = a; }
      else out[i] = out[i + 1] = out[i + 2] = 128 + (a - b) / 2;
    }
    context.putImageData(picture, 0, 0);
  };

  // ---- deformation ------------------------------------------------------------------------------------------------
  const SMALLER = [33, 102, 172], LARGER = [178, 24, 43], FOLDED = [255, 230, 0];
  const jacobian = (context, width, height, fixed, coded) => {
    const picture = context.createImageData(width, height);
    const out = picture.data;
    const table = levels();
    for (let p = 0, i = 0; p < width * height; p++, i += 4) {
      const grey = table[Math.round(luminance(fixed, i))];
      const step = coded[i];
      const share = step === 255 ? 0 : Math.max(-1, Math.min(1, (step - 128) / 64));
      const end = step === 0 ? FOLDED : share < 0 ? SMALLER : LARGER;
      const weight = step === 0 ? 1 : 0.6 * Math.abs(share);
      for (let c = 0; c < 3; c++) out[i + c] = grey * (1 - weight) + end[c] * weight;
      out[i + 3] = 255;
    }
    context.putImageData(picture, 0, 0);
  };
  const svg = (name, attributes, parent) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (parent) parent.append(made);
    return made;
  };
  const mesh = (figure) => {
    const layer = $("svg", figure.stage);
    const [width, height] = figure.plane.pixels;
    layer.setAttribute("viewBox", `0 0 ${width} ${height}`);
    layer.setAttribute("preserveAspectRatio", "none");
    const rows = data.mesh[state.slice];
    const at = (row, n) => `${row[2 * n] / 10} ${row[2 * n + 1] / 10}`;
    const across = rows.map((row) => "M" + row.slice(0, row.length / 2).map((_, n) => at(row, n)).join("L"));
    const down = rows[0].slice(0, rows[0].length / 2).map((_, n) => "M" + rows.map((row) => at(row, n)).join("L"));
    layer.replaceChildren();
    svg("path", { class: "mesh", d: across.join("") + down.join("") }, layer);
  };

  // ---- pairs ------------------------------------------------------------------------------------------------------
  let shown = new Set(), held = null, over = null;
  const css = (colour) => `rgb(${colour.join(",")})`;
  const outlines = (figure) => {
    const side = figure.element.dataset.side;
    const index = side === "fixed" ? state.slice : state.moving;
    const [width, height] = figure.plane.size.map((v) => v * figure.scale);
    const margin = gutter();
    const layer = $("svg", figure.stage);
    layer.setAttribute("viewBox", `${-margin} 0 ${width + 2 * margin} ${height}`);
    layer.style.left = `${-margin}px`;
    layer.style.width = `${width + 2 * margin}px`;
    layer.replaceChildren();
    const sx = width / figure.plane.pixels[0], sy = height / figure.plane.pixels[1];
    const current = over ?? held;
    const marks = data.outlines[side][index].filter(([s]) => shown.has(s) || s === current);
    const labels = new Map();
    for (const [s, path, x, y] of marks) {
      const { number, title, colour } = data.structures[s];
      const group = svg("g", { class: "roi" + (current === s ? " on" : current !== null ? " dim" : ""),
        "data-structure": s }, layer);
      const place = { d: path, transform: `scale(${sx} ${sy})` };
      svg("path", { ...place, class: "halo" }, group);
      svg("path", { ...place, class: "line", stroke: css(colour), fill: css(colour) }, group);
      svg("title", {}, group).textContent = title;
      if (!labels.has(s)) labels.set(s, { s, number, colour, x: x * sx, y: y * sy });
    }
    // Numbers stand beside the picture, each at its side, in the order of their regions from top to bottom.
    const middle = [...labels.values()].sort((a, b) => a.x - b.x);
    const half = Math.ceil(middle.length / 2), gap = 17;
    for (const [list, x, end] of [[middle.slice(0, half), -margin + 2, 0], [middle.slice(half), width + margin - 2, 1]]) {
      list.sort((a, b) => a.y - b.y);
      let low = 9;
      list.forEach((l) => { l.at = Math.max(l.y, low); low = l.at + gap; });
      let high = height - 9;
      for (const l of [...list].reverse()) { l.at = Math.min(l.at, high); high = l.at - gap; }
      for (const l of list) {
        const group = svg("g", { class: "no" + (current === l.s ? " on" : current !== null ? " dim" : ""),
          "data-structure": l.s }, layer);
        const from = end ? width + 3 : -3;
        for (const kind of ["halo", "lead"]) {
          svg("path", { class: kind, d: `M${from} ${l.at}L${l.x} ${l.y}`, stroke: css(l.colour) }, group);
        }
        svg("circle", { class: "dot", cx: l.x, cy: l.y, r: 2.2, fill: css(l.colour) }, group);
        svg("text", { x, y: l.at, "text-anchor": end ? "end" : "start", "dominant-baseline": "central" }, group)
          .textContent = l.number;
      }
    }
    if (side === "fixed" && data.prompt && (data.planes.fixed.n === 1 || data.prompt.slice === index)) {
      const d = data.prompt.path.replace(/(-?[\d.]+) (-?[\d.]+)/g, (_, x, y) => `${x * sx} ${y * sy}`);
      svg("path", { class: "prompt under", d }, layer);
      svg("path", { class: "prompt", d }, layer);
    }
  };

  // ---- one slice on every figure ----------------------------------------------------------------------------------
  let turn = 0;
  const draw = async () => {
    const mine = ++turn;
    layout();
    for (const f of figures) {
      const [width, height] = f.plane.pixels;
      const context = f.canvas.getContext("2d");
      const k = f.element.dataset.side === "moving" ? state.moving : state.slice;
      const get = (stack) => pixels(stack && stack[k], width, height);
      if (f.view === "before" || f.view === "after") {
        const late = f.view === "after";
        const [a, b, o] = await Promise.all([get(data.fixed), get(late ? data.after : data.before),
          get(late ? data.outsideAfter : data.outsideBefore)]);
        if (mine !== turn) return;
        compare(context, width, height, a, b, o);
      } else if (f.view === "jacobian") {
        const [a, coded] = await Promise.all([get(data.fixed), get(data.jacobian)]);
        if (mine !== turn) return;
        jacobian(context, width, height, a, coded);
      } else {
        const a = await get(f.element.dataset.side === "moving" ? data.moving : data.fixed);
        if (mine !== turn) return;
        const picture = context.createImageData(width, height);
        const table = levels();
        for (let i = 0; i < a.length; i++) picture.data[i] = i % 4 === 3 ? 255 : table[a[i]];
        context.putImageData(picture, 0, 0);
        if (f.view === "pairs") outlines(f);
        else mesh(f);
      }
      const at = f.plane.at[k];
      $(".where", f.element).textContent = at ? `slice ${k + 1} of ${f.plane.n}, ${at}` : "";
    }
    $$(".slice").forEach((input) => { input.value = state.slice; });
    $$(".line-swipe").forEach((line) => {
      line.hidden = state.mode !== "swipe";
      line.style.left = `${state.swipe}%`;
    });
    const now = $("#now");
    if (now) now.textContent = { swipe: "Left of the line: fixed; right of it: moving.",
      flicker: `Now on screen: ${state.other ? "moving" : "fixed"}.`,
      blend: "Fixed in green, moving in magenta, grey where they agree.",
      difference: "Fixed minus moving; mid-grey is no difference." }[state.mode];
    document.body.dataset.drawn = String(mine);
  };
  const go = (slice, moving) => {
    state.slice = Math.max(0, Math.min(data.planes.fixed.n - 1, slice));
    state.moving = moving ?? data.partner[state.slice];
    return draw();
  };

  // ---- controls ---------------------------------------------------------------------------------------------------
  $$(".slice").forEach((input) => input.addEventListener("input", () => go(Number(input.value))));
  let timer = null;
  const play = (on) => {
    clearInterval(timer);
    timer = on ? setInterval(() => { state.other = !state.other; draw(); }, 700) : null;
    const button = $("#play");
    if (button) button.textContent = on ? "Stop" : "Start";
  };
  const setMode = (mode) => {
    state.mode = mode;
    $$("[name=mode]").forEach((input) => { input.checked = input.value === mode; });
    $$("[data-for]").forEach((part) => { part.hidden = part.dataset.for !== mode; });
    play(mode === "flicker" && !still);
    draw();
  };
  $$("[name=mode]").forEach((input) => input.addEventListener("change", () => setMode(input.value)));
  $("#play")?.addEventListener("click", () => play(timer === null));
  $("#turn")?.addEventListener("click", () => { play(false); state.other = !state.other; draw(); });
  $("#swipe")?.addEventListener("input", (event) => { state.swipe = Number(event.target.value); draw(); });
  const setWindow = (change) => {
    const within = (value, low, high) => Math.max(low, Math.min(high, value));
    window_.level = within(change.level ?? window_.level, 0, 100);
    window_.width = within(change.width ?? window_.width, 5, 200);
    $$(".level").forEach((input) => { input.value = window_[input.name]; });
    draw();
  };
  $$(".level").forEach((input) => input.addEventListener("input", () => setWindow({ [input.name]: Number(input.value) })));
  $$(".reset").forEach((button) => button.addEventListener("click", () => setWindow({ level: 50, width: 100 })));
  // As in a viewer of images: dragging with the right button down is darker, to the right is less contrast.
  figures.forEach((f) => {
    f.stage.addEventListener("contextmenu", (event) => event.preventDefault());
    f.stage.addEventListener("pointerdown", (event) => {
      if (event.button !== 2) return;
      f.stage.setPointerCapture(event.pointerId);
      let last = [event.clientX, event.clientY];
      f.stage.onpointermove = (next) => {
        setWindow({ level: window_.level + (next.clientY - last[1]) / 4, width: window_.width + (next.clientX - last[0]) / 2 });
        last = [next.clientX, next.clientY];
      };
      event.preventDefault();
    });
    for (const end of ["pointerup", "pointercancel"]) f.stage.addEventListener(end, () => { f.stage.onpointermove = null; });
  });
  figures.filter((f) => f.view === "before" || f.view === "after").forEach((f) => {
    const move = (event) => {
      const box = f.canvas.getBoundingClientRect();
      state.swipe = Math.max(0, Math.min(100, 100 * (event.clientX - box.left) / box.width));
      $("#swipe").value = state.swipe;
      draw();
    };
    f.stage.addEventListener("pointerdown", (event) => {
      if (state.mode !== "swipe" || event.button !== 0) return;
      f.stage.setPointerCapture(event.pointerId);
      move(event);
      f.stage.onpointermove = move;
    });
  });
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, button, textarea, summary, select") || event.ctrlKey || event.metaKey) return;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) go(state.slice + step);
    else if (event.key === "f") { if (state.mode !== "flicker") setMode("flicker"); play(false); state.other = !state.other; draw(); }
    else return;
    event.preventDefault();
  });

  // ---- table ------------------------------------------------------------------------------------------------------
  const body = $("#pairs-body");
  const count = $("#count");
  const pick = () => {
    if (!body) return;
    const most = Number(count?.value ?? 10);
    shown = new Set();
    [...body.rows].forEach((row, i) => {
      row.hidden = i >= most;
      if (i < most) shown.add(Number(row.dataset.structure));
    });
    const text = $("#count-text");
    if (text) text.textContent = `${Math.min(most, body.rows.length)} of ${body.rows.length}`;
    draw();
  };
  count?.addEventListener("input", pick);
  $$("th button[data-key]").forEach((button) => button.addEventListener("click", () => {
    const down = button.parentElement.ariaSort !== "descending";
    $$("th[aria-sort]").forEach((th) => th.removeAttribute("aria-sort"));
    button.parentElement.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = (row) => {
      const raw = row.dataset[button.dataset.key];
      return raw !== "" && !Number.isNaN(Number(raw)) ? Number(raw) : raw;
    };
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      return (x < y ? -1 : x > y ? 1 : 0) * (down ? -1 : 1);
    });
    body.append(...rows);
    pick();
  }));
  const highlight = () => {
    const current = over ?? held;
    $$("tr[data-structure]").forEach((row) => row.classList.toggle("on", Number(row.dataset.structure) === current));
    figures.filter((f) => f.view === "pairs").forEach(outlines);
  };
  document.addEventListener("pointerover", (event) => {
    const hit = event.target.closest?.("[data-structure]");
    const next = hit ? Number(hit.dataset.structure) : null;
    if (next === over) return;
    // Outlines that were drawn anew under the pointer come over again; that is no change.
    over = next;
    highlight();
  });
  document.addEventListener("click", (event) => {
    const hit = event.target.closest?.("[data-structure]");
    if (!hit) return;
    const s = Number(hit.dataset.structure);
    held = held === s ? null : s;
    const row = $(`tr[data-structure="${s}"]`);
    if (held !== null && row && hit.closest("tr")) go(Number(row.dataset.fixed), Number(row.dataset.moving));
    highlight();
  });

  $$("[data-copy]").forEach((button) => button.addEventListener("click", async () => {
    const text = $(button.dataset.copy);
    try { await navigator.clipboard.writeText(text.innerText); button.textContent = "Copied"; }
    catch { getSelection().selectAllChildren(text); button.textContent = "Selected: press Ctrl+C"; }
  }));
  $$(".slice").forEach((input) => { input.closest("label").hidden = data.planes.fixed.n < 2; });
  addEventListener("resize", draw);
  addEventListener("beforeprint", () => play(false));
  pick();
  setMode("swipe");
})();
