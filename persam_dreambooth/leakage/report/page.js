"use strict";
// Clicks on leaked patches, their addresses (#hit=ARM/PROMPT/SEED/ROW/COLUMN), and the order of the rows.
// The page is whole without this script.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const dialog = document.getElementById("match");
  document.documentElement.classList.add("script");
  if (!data.shots) return;
  const CONTEXT = 1.5; // cells shown around a patch
  const ZOOM = 220; // pixels of an enlarged patch
  const SVG = document.querySelector("svg").namespaceURI;
  let current = null;

  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  function drawn(tag, attributes = {}, ...children) {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  function frameOf(shot) {
    return [...document.querySelectorAll("a.frame")].find((frame) => frame.dataset.shot === shot);
  }

  // The hit whose cell is nearest to (row, column): an exact one where there is one.
  function nearest(hits, row, column) {
    const far = (hit) => (hit[0] - row) ** 2 + (hit[1] - column) ** 2;
    return hits.reduce((best, hit) => (far(hit) < far(best) ? hit : best));
  }

  function addressOf(shot, hit) {
    return `#hit=${shot}/${hit[0]}/${hit[1]}`;
  }

  function choose(shot, hit) {
    history.replaceState(null, "", addressOf(shot, hit));
    show();
  }

  // What the address names, or null where it names no hit of this page.
  function asked() {
    const parts = location.hash.replace(/^#hit=/, "").split("/");
    if (!location.hash.startsWith("#hit=") || parts.length !== 5) return null;
    const shot = parts.slice(0, 3).join("/");
    const found = data.shots[shot];
    const [row, column] = parts.slice(3).map(Number);
    if (!found || Number.isNaN(row) || Number.isNaN(column)) return null;
    return { shot, found, hit: nearest(found.hits, row, column) };
  }

  // A picture with one of its cells marked.
  function marked(source, grid, row, column, alt, outline) {
    const overlay = drawn("svg", {
      class: "overlay", viewBox: `0 0 ${grid[1]} ${grid[0]}`, preserveAspectRatio: "none", "aria-hidden": "true",
    });
    if (outline) {
      overlay.append(drawn("path", { class: "casing", d: outline }), drawn("path", { class: "hits", d: outline }));
    }
    const square = `M${column} ${row}h1v1h-1z`;
    overlay.append(drawn("path", { class: "chosen-casing", d: square }), drawn("path", { class: "chosen", d: square }));
    return element("div", { class: "frame" }, element("img", { src: source, alt }), overlay);
  }

  function zoomed(image, grid, row, column, mirrored, label) {
    const canvas = element("canvas", { role: "img", "aria-label": label });
    const paint = () => {
      const cell = [image.naturalWidth / grid[1], image.naturalHeight / grid[0]];
      const side = Math.min(1 + 2 * CONTEXT, ...grid);
      const [top, left] = [[row, grid[0]], [column, grid[1]]].map(
        ([at, total]) => Math.min(Math.max(at - CONTEXT, 0), total - side),
      );
      canvas.width = ZOOM;
      canvas.height = Math.round((ZOOM * cell[1]) / cell[0]);
      const pen = canvas.getContext("2d", { willReadFrequently: true });
      if (mirrored) pen.setTransform(-1, 0, 0, 1, canvas.width, 0);
      pen.drawImage(
        image, left * cell[0], top * cell[1], side * cell[0], side * cell[1], 0, 0, canvas.width, canvas.height,
      );
      const scale = [canvas.width / side, canvas.height / side];
      const box = [(column - left) * scale[0], (row - top) * scale[1], ...scale];
      for (const [colour, width] of [["rgba(0,0,0,.65)", 5], ["#ffd60a", 2.5]]) {
        pen.strokeStyle = colour;
        pen.lineWidth = width;
        pen.strokeRect(...box);
      }
    };
    if (image.complete && image.naturalWidth) paint();
    else image.addEventListener("load", paint);
    return canvas;
  }

  // A line from the chosen cell of the left picture to that of the right one, from rim to rim.
  function connect() {
    const pair = dialog.querySelector(".pair");
    if (!pair) return;
    const own = pair.getBoundingClientRect();
    const [from, to] = [...pair.querySelectorAll(".chosen")].map((path) => path.getBoundingClientRect());
    const line = {
      x1: from.right - own.x, y1: from.y + from.height / 2 - own.y, x2: to.x - own.x, y2: to.y + to.height / 2 - own.y,
    };
    const lines = pair.lastElementChild;
    lines.setAttribute("viewBox", `0 0 ${own.width} ${own.height}`);
    lines.replaceChildren(drawn("line", { class: "casing", ...line }), drawn("line", line));
  }

  // By how much a patch is nearer to the photos than to any decoy; the most telling first.
  const telling = (hit) => (hit.length > 6 ? hit[5] - hit[6] : hit[5]);
  const ranked = (hits) => [...hits].sort((a, b) => telling(b) - telling(a));

  function step(by) {
    const { shot, found, hit } = current;
    const order = ranked(found.hits);
    choose(shot, order[(order.indexOf(hit) + by + order.length) % order.length]);
  }

  function button(name, action) {
    const made = element("button", { type: "button" }, name);
    made.addEventListener("click", action);
    return made;
  }

  function words(found, hit) {
    const rank = ranked(found.hits).indexOf(hit) + 1;
    const banks = data.banks ? ` of ${data.banks + 1} banks (the photos and ${data.banks} of decoys)` : "";
    const decoy = hit.length > 6 ? `; the nearest decoy reaches ${hit[6].toFixed(3)}` : "";
    const turned = hit[7] ? " The photo’s patch is mirrored." : "";
    return `Cosine ${hit[5].toFixed(3)}: the nearest${banks}${decoy}.${turned} ` +
      `Patch ${rank} of ${found.hits.length} leaked in this picture, the most telling first.`;
  }

  function show() {
    current = asked();
    if (!current) {
      if (dialog.open) dialog.close();
      return;
    }
    const { shot, found, hit } = current;
    const [row, column, number, photoRow, photoColumn] = hit;
    const photo = data.photos[number];
    const frame = frameOf(shot);
    if (!photo || !frame) return;
    const title = `${found.arm}: “${found.prompt}”, seed ${found.seed}`;
    const here = `row ${row + 1}, column ${column + 1}`;
    const there = `row ${photoRow + 1}, column ${photoColumn + 1}`;
    const left = marked(
      frame.querySelector("img").src, found.grid, row, column, `Drawn by ${title}`,
      frame.querySelector("path.hits").getAttribute("d"),
    );
    const right = marked(photo.src, photo.grid, photoRow, photoColumn, `Training photo ${photo.name}`);
    const pair = element(
      "div", { class: "pair" },
      element("figure", {}, left, element("figcaption", {}, `drawn: ${here}`)),
      element("figure", {}, right, element("figcaption", {}, `training photo ${photo.name}: ${there}`)),
      drawn("svg", { "aria-hidden": "true" }),
    );
    const zooms = element(
      "div", { class: "zooms" },
      element("figure", {}, zoomed(left.firstElementChild, found.grid, row, column, false, `Drawn patch, ${here}`)),
      element("figure", {}, zoomed(
        right.firstElementChild, photo.grid, photoRow, photoColumn, Boolean(hit[7]), `Patch of ${photo.name}, ${there}`,
      )),
    );
    const close = button("Close", () => dialog.close());
    close.className = "close";
    dialog.replaceChildren(
      close, element("h2", { id: "match-title" }, title), pair, zooms,
      element("p", { "aria-live": "polite" }, words(found, hit)),
      element("div", { class: "buttons" }, button("← Previous", () => step(-1)), button("Next →", () => step(1))),
    );
    Object.assign(dialog.dataset, { shot, row, column, photo: photo.name, photoRow, photoColumn, cosine: hit[5] });
    if (!dialog.open) dialog.showModal();
    right.firstElementChild.decode().catch(() => {}).then(connect);
  }

  document.addEventListener("click", (event) => {
    const frame = event.target.closest("a.frame");
    if (!frame || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const found = data.shots[frame.dataset.shot];
    const box = frame.getBoundingClientRect();
    // The keyboard's click has no place: it opens what the link names, the most telling patch.
    if (event.detail === 0) {
      choose(frame.dataset.shot, ranked(found.hits)[0]);
      return;
    }
    const row = ((event.clientY - box.y) / box.height) * found.grid[0] - 0.5;
    const column = ((event.clientX - box.x) / box.width) * found.grid[1] - 0.5;
    choose(frame.dataset.shot, nearest(found.hits, row, column));
  });
  dialog.addEventListener("close", () => history.replaceState(null, "", location.pathname + location.search));
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  window.addEventListener("resize", connect);
  window.addEventListener("hashchange", show);

  const order = document.getElementById("order");
  order?.addEventListener("change", () => {
    const value = (row) => {
      if (order.value === "asked") return Number(row.dataset.order);
      const rates = row.dataset.rates.split(" ");
      return -Number(order.value === "worst" ? row.dataset.worst : rates[Number(order.value)]);
    };
    for (const grid of document.querySelectorAll(".sheet")) {
      grid.append(...[...grid.querySelectorAll(".row")].sort((a, b) => value(a) - value(b)));
    }
  });
  show();
})();
