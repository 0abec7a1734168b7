"use strict";
// unpack the library and run it, which the page's policy allows by its hash; then draw
const unpackLibrary = async () => {
  const packed = Uint8Array.from(atob(document.getElementById("library").textContent), (c) => c.charCodeAt(0));
  const script = document.createElement("script");
  script.textContent = await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  document.head.append(script);
};
const drawPage = () => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const page = document.getElementById("page");
  const MISSING = -32768, PAGE_ROWS = 50, COLUMNS = 1200, MOST_OPTIONS = 400;
  const drawers = [];  // one for each chart: draws it in the colours of the moment
  const afterwards = [];  // what waits until all charts are there

  // --- small things -------------------------------------------------------------------------------------------------
  const make = (tag, parent, text, name) => {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (name) node.className = name;
    if (parent) parent.append(node);
    return node;
  };
  // Plotly reads a few tags in texts; names are no markup
  const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const whole = (n) => n.toLocaleString("en-US");
  const short = (x) => x === null || x === undefined ? "–" : Number(x.toPrecision(4)).toString();
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const unpack = (packed) => {
    const raw = new DataView(bytes(packed.data).buffer), values = new Float32Array(raw.byteLength / 2);
    for (let i = 0; i < values.length; i++) {
      const n = raw.getInt16(2 * i, true);
      values[i] = n === MISSING ? NaN : n * packed.step;
    }
    return values;
  };
  const unpackWhole = (text) => {
    const raw = new DataView(bytes(text).buffer), values = new Int32Array(raw.byteLength / 4);
    for (let i = 0; i < values.length; i++) values[i] = raw.getInt32(4 * i, true);
    return values;
  };
  const section = (id, title, about) => {
    const node = make("section", page);
    node.id = id;
    make("h2", node, title);
    if (about) make("p", node, about);
    return node;
  };

  // --- charts -------------------------------------------------------------------------------------------------------
  const isPhone = () => document.documentElement.clientWidth < 600;
  const config = {displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d", "sendChartToCloud"]};
  const layout = (extra) => {
    const ink = css("--ink"), line = css("--line");
    const axis = {gridcolor: line, zerolinecolor: css("--soft"), linecolor: line, tickcolor: line, automargin: true};
    const base = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: {color: ink, size: 12, family: "system-ui, sans-serif"},
      margin: {l: 54, r: 14, t: 30, b: 44}, height: 300, showlegend: false, hoverlabel: {namelength: -1},
      modebar: {bgcolor: "rgba(0,0,0,0)", color: css("--soft"), activecolor: css("--mark")},
    };
    const found = Object.assign(base, extra);
    for (const name of Object.keys(found)) if (/^[xy]axis/.test(name)) found[name] = Object.assign({}, axis, found[name]);
    return found;
  };
  const chart = (parent, draw, bare) => {
    const box = make("div", parent, undefined, "chart"), caption = make("div", box, "", "caption"), node = make("div", box);
    const settings = bare || isPhone() ? {...config, displayModeBar: false} : config;
    const again = () => {
      const {traces, extra, about} = draw();
      caption.textContent = about || "";
      return Plotly.react(node, traces, layout(extra), settings);
    };
    drawers.push(again);  // drawn when the whole page is laid out, so that its width is right
    node.again = again;
    let width = 0;
    new ResizeObserver(() => {
      if (node.data && node.clientWidth !== width) { width = node.clientWidth; again(); Plotly.Plots.resize(node); }
    }).observe(node);
    return node;
  };
  const effectScale = () => [[0, css("--down")], [0.5, css("--zero")], [1, css("--up")]];
  const countScale = () => document.documentElement.dataset.theme === "dark"
    ? [[0, "#2f5878"], [0.35, "#3a7ba6"], [0.7, "#56b4e9"], [1, "#fff3b0"]] : [[0, "#a5d2f0"], [0.35, "#66aedb"], [0.7, "#1f6fa5"], [1, "#12263a"]];
  // few rows as points, many counted on a raster
  const cloud = (found, xName, yName, title, equality) => () => {
    const phone = isPhone();
    const traces = [found.points ? points(found.points, xName, yName) : raster(found, xName, yName, phone)];
    if (equality) {
      const low = Math.min(found.x[0], found.y[0]), high = Math.max(found.x[1], found.y[1]);
      traces.push({type: "scatter", mode: "lines", x: [low, high], y: [low, high], line: {color: css("--soft"), dash: "dash", width: 1}, hoverinfo: "skip"});
    }
    const extra = {xaxis: {title: {text: plain(xName)}}, yaxis: {title: {text: plain(yName)}}, height: equality && !phone ? 500 : 380};
    if (equality) Object.assign(extra.yaxis, {scaleanchor: "x", constrain: "domain"});  // one scale, so that equality is at 45°
    return {traces, about: title, extra};
  };
  const points = (found, xName, yName) => ({
    type: "scatter", mode: "markers", x: found.x, y: found.y, customdata: found.row,
    marker: {size: found.x.length > 300 ? 4 : 6, color: css("--fill"), opacity: 0.75, line: {width: 0}},
    hovertemplate: `row %{customdata}<br>${plain(xName)} %{x:.3f}<br>${plain(yName)} %{y:.3f}<extra></extra>`,
  });
  const raster = (found, xName, yName, phone) => {
    const n = found.counts.length, step = (side) => (side[1] - side[0]) / n;
    const at = (side) => Array.from({length: n}, (_, i) => side[0] + (i + 0.5) * step(side));
    const most = Math.max(...found.counts.map((row) => Math.max(...row)));
    const ticks = [1, 10, 100, 1000, 1e4, 1e5, 1e6].filter((t) => t <= most);
    return {
      type: "heatmap", x: at(found.x), y: at(found.y), z: found.counts.map((row) => row.map((c) => c ? Math.log10(c) : null)),
      customdata: found.counts, hovertemplate: `${plain(xName)} %{x:.3f}<br>${plain(yName)} %{y:.3f}<br>%{customdata} rows<extra></extra>`,
      colorscale: countScale(), zmin: 0, hoverongaps: false,
      colorbar: {title: {text: "rows"}, tickvals: ticks.map(Math.log10), ticktext: ticks.map(whole), thickness: phone ? 8 : 12},
    };
  };

  // --- parts of the page --------------------------------------------------------------------------------------------
  const head = () => {
    const header = make("header", page);
    make("h1", header, `legscore report: ${data.file}`);
    make("span", header, `${whole(data.rows)} rows · legscore ${data.version}`, "count");
    const button = make("button", header, "");
    button.id = "theme";
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const set = (theme) => {
      document.documentElement.dataset.theme = theme;
      button.textContent = theme === "dark" ? "light" : "dark";
      button.setAttribute("aria-label", `switch to ${button.textContent} colours`);
      drawers.forEach((draw) => draw());
    };
    button.addEventListener("click", () => set(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
    dark.addEventListener("change", () => set(dark.matches ? "dark" : "light"));
    afterwards.push(() => set(dark.matches ? "dark" : "light"));
  };

  const facts = () => {
    const body = make("tbody", make("table", section("run", "What was run"), undefined, "facts"));
    for (const [label, text] of data.facts) {
      const row = make("tr", body);
      make("th", row, label);
      make("td", row, text);
    }
  };

  const status = () => {
    const node = section("status", "Rows by status", "A row that is not ok has no score; the status says why.");
    const body = make("tbody", make("table", node, undefined, "plain"));
    for (const [name, count] of data.status) {
      const row = make("tr", body);
      make("td", row, name);
      make("td", row, whole(count), "number");
      make("td", row, `${(100 * count / data.rows).toFixed(2)} %`, "number");
    }
  };

  const distributions = () => {
    const node = section("distributions", "Distributions");
    const grid = make("div", node, undefined, "charts");
    for (const [name, h] of Object.entries(data.histograms)) {
      chart(grid, () => {
        const width = (h.high - h.low) / h.counts.length;
        const x = h.counts.map((_, i) => h.low + (i + 0.5) * width);
        const about = `${name}: ${whole(h.n)} rows, mean ${short(h.mean)}, median ${short(h.median)}, SD ${short(h.sd)}`;
        const extra = {xaxis: {title: {text: plain(name)}}, yaxis: {title: {text: "rows"}}, bargap: 0, height: 230, margin: {l: 54, r: 14, t: 8, b: 44}};
        if (name.endsWith("score") && data.floor.known && data.floor.named) {
          extra.shapes = [{type: "line", x0: data.floor.level, x1: data.floor.level, yref: "paper", y0: 0, y1: 1, line: {color: css("--up"), dash: "dot"}}];
        }
        return {traces: [{type: "bar", x, y: h.counts, width, marker: {color: css("--fill"), line: {width: 0}}}], extra, about};
      }, true);
    }
  };

  const spread = () => {
    if (!data.spread) return;
    const label = data.main === "effect" ? "|effect|" : "score";
    const node = section("spread", `${label} against ${data.sd}`,
      "The SD is the spread between models trained from different seeds, not the error of a prediction. Effects that are small beside it depend on the seed.");
    chart(node, cloud(data.spread, data.sd, label, `${whole(data.spread.n)} rows`, false));
  };

  const floor = () => {
    const f = data.floor;
    if (!f.known) return;
    const node = section("floor", "The prediction floor");
    const where = f.named ? `The models' floor is ${short(f.level)}.` : `The models name no floor; the smallest of ${whole(f.of)} scores is ${short(f.level)}.`;
    make("p", node, `${where} ${whole(f.near)} of ${whole(f.of)} scores (${(100 * f.near / f.of).toFixed(2)} %) lie within ${f.within} of it. Effects compress there: a weak promoter cannot lose much.`);
    if (f.weak_rows !== undefined) {
      make("p", node, `${whole(f.weak_rows)} rows start that low (ref_score); ${whole(f.weak_losing)} of them have a negative effect.`);
    }
  };

  const truth = () => {
    const t = data.truth;
    if (!t) return;
    const node = section("truth", `Measured (${t.truth}) against predicted (${t.prediction})`);
    const names = {pearson: "Pearson", spearman: "Spearman", rmse: "RMSE", mae: "MAE"};
    const words = Object.entries(names).map(([key, name]) => {
      const m = t.metrics[key];
      return m.value === null ? `${name}: none (${m.reason})` : `${name} ${m.value.toFixed(4)}`;
    });
    make("p", node, `${whole(t.raster.n)} rows with both: ${words.join(", ")}. legscore evaluate gives intervals.`);
    chart(make("div", node, undefined, "square"), cloud(t.raster, t.truth, t.prediction, "dashed: equality", true));
  };

  const top = () => {
    const t = data.top, name = t.by === "effect" ? "|effect|" : "|score|";
    const node = section("top", "Top variants", `The ${whole(t.rows.length)} rows with the largest ${name} of ${whole(t.of)}. Click a heading to sort; the filter looks for every word in any column.`);
    if (t.by !== "effect") node.querySelector("h2").textContent = "Top rows";
    const bar = make("div", node, undefined, "bar");
    const filter = make("input", bar);
    filter.type = "search"; filter.id = "filter"; filter.placeholder = "filter, e.g. GAL1 A"; filter.setAttribute("aria-label", "filter rows");
    const before = make("button", bar, "‹"), count = make("span", bar, "", "count"), after = make("button", bar, "›");
    before.setAttribute("aria-label", "previous rows"); after.setAttribute("aria-label", "next rows"); count.id = "count";
    const table = make("table", make("div", node, undefined, "wide"));
    table.id = "variants";
    const heads = make("tr", make("thead", table)), body = make("tbody", table);
    const texts = t.rows.map((row) => row.map((v) => v === null ? "" : String(v)).join("\u0001").toLowerCase());
    let order = t.rows.map((_, i) => i), sorted = -1, up = false, first = 0;
    const show = () => {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      const kept = order.filter((i) => words.every((w) => texts[i].includes(w)));
      first = Math.max(0, Math.min(first, Math.floor((kept.length - 1) / PAGE_ROWS) * PAGE_ROWS));
      body.replaceChildren();
      for (const i of kept.slice(first, first + PAGE_ROWS)) {
        const row = make("tr", body);
        t.columns.forEach((c, k) => make("td", row, t.rows[i][k] === null ? "–" : String(t.rows[i][k]), c.number ? "number" : ""));
      }
      const last = Math.min(first + PAGE_ROWS, kept.length);
      count.textContent = kept.length ? `${first + 1}–${last} of ${whole(kept.length)}` : "no row has all these words";
      before.disabled = first === 0; after.disabled = last >= kept.length;
    };
    const sort = (k) => {
      up = sorted === k ? !up : !t.columns[k].number;
      sorted = k;
      const value = (i) => t.rows[i][k];
      order.sort((a, b) => {
        const x = value(a), y = value(b);
        if (x === null || y === null) return (x === null) - (y === null) || a - b;  // none is last either way
        const less = t.columns[k].number ? x - y : x < y ? -1 : x > y ? 1 : 0;
        return (up ? less : -less) || a - b;
      });
      [...heads.children].forEach((th, j) => {
        th.setAttribute("aria-sort", j === k ? (up ? "ascending" : "descending") : "none");
        th.firstChild.textContent = t.columns[j].name + (j === k ? (up ? " ▲" : " ▼") : "");
      });
      first = 0;
      show();
    };
    t.columns.forEach((c, k) => {
      const th = make("th", heads, undefined, c.number ? "number" : "");
      make("button", th, c.name).addEventListener("click", () => sort(k));
    });
    filter.addEventListener("input", () => { first = 0; show(); });
    before.addEventListener("click", () => { first -= PAGE_ROWS; show(); });
    after.addEventListener("click", () => { first += PAGE_ROWS; show(); });
    show();
  };

  const heat = () => {
    const h = data.heat;
    if (!h) return;
    const cut = h.titles.length < h.of ? `The ${whole(h.titles.length)} of ${whole(h.of)} promoters with the largest effects.` : `All ${whole(h.of)} promoters.`;
    const node = section("heat", "Every change of a promoter", `${cut} Bases run 5' → 3' as scored; dots mark the base that is there. Bars: minus the mean effect of changing a base, so what the models need stands up.`);
    const values = unpack(h.effect), bases = "ACGT", colours = {A: "#009e73", C: "#0072b2", G: "#e69f00", T: "#d55e00", ".": "#999999"};
    const bar = make("div", node, undefined, "bar");
    const filter = make("input", bar);
    filter.type = "search"; filter.id = "find"; filter.placeholder = "find a promoter"; filter.setAttribute("aria-label", "find a promoter");
    const select = make("select", bar);
    select.id = "picker"; select.setAttribute("aria-label", "promoter");
    const count = make("span", bar, "", "count");
    let shown = 0;
    const list = () => {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean), hits = [];
      h.titles.forEach((title, i) => { if (words.every((w) => title.toLowerCase().includes(w))) hits.push(i); });
      select.replaceChildren();
      for (const i of hits.slice(0, MOST_OPTIONS)) { const o = make("option", select, h.titles[i]); o.value = String(i); }
      count.textContent = hits.length > MOST_OPTIONS ? `first ${MOST_OPTIONS} of ${whole(hits.length)}; type to find others` : `${whole(hits.length)} listed`;
      if (hits.length && !hits.slice(0, MOST_OPTIONS).includes(shown)) shown = hits[0];
      select.value = String(shown);
    };
    list();
    const picture = chart(node, () => {
      const first = h.heads[shown], length = h.heads[shown + 1] - first, sequence = h.sequence.slice(first, first + length);
      const z = [...bases].map((_, b) => Array.from({length}, (_, i) => { const v = values[4 * (first + i) + b]; return Number.isNaN(v) ? null : v; }));
      const limit = Math.max(...z.flat().map((v) => Math.abs(v ?? 0))) || 1, x = Array.from({length}, (_, i) => i);
      const need = x.map((i) => { const known = z.map((row) => row[i]).filter((v) => v !== null); return known.length ? -known.reduce((a, b) => a + b, 0) / known.length : null; });
      const there = x.filter((i) => bases.includes(sequence[i]));
      const room = Math.max(200, (picture ? picture.clientWidth : 900) - 120) / length;  // pixels a position
      const letters = [...sequence], place = h.places[shown], dense = room < 7;
      const position = (i) => place ? place.first + place.step * i : i;
      const every = [5, 10, 20, 50, 100, 200].find((n) => n * room > 48) || 500;
      const marked = (i) => (place ? position(i) % every === 0 : i % every === 0);
      const shownTicks = dense ? x.filter(marked) : x;
      const ticks = {
        tickmode: "array", tickvals: shownTicks, tickangle: 0, tickfont: {size: room < 9 ? 8 : 10},
        ticktext: shownTicks.map((i) => dense ? whole(position(i)) : marked(i) ? `${letters[i]}<br>${whole(position(i))}` : letters[i]),
        title: {text: place ? `${plain(place.chrom)}, position` : "offset"},
      };
      const where = x.map((i) => place ? `offset ${i}, ${plain(place.chrom)}:${whole(position(i))}` : `offset ${i}`);
      return {
        traces: [
          {type: "bar", x, y: need, yaxis: "y2", marker: {color: letters.map((c) => colours[c])}, customdata: where, text: letters, textposition: "none",
            hovertemplate: "%{text} at %{customdata}: %{y:.3f}<extra></extra>"},
          {type: "heatmap", x, y: [...bases], z, zmin: -limit, zmax: limit, colorscale: effectScale(), hoverongaps: false,
            customdata: z.map(() => where), text: z.map(() => letters), hovertemplate: "%{customdata}: %{text} → %{y}, effect %{z:.3f}<extra></extra>",
            colorbar: {title: {text: "effect"}, thickness: dense ? 8 : 12, len: 0.5, y: 0.22}},
          {type: "scatter", mode: "markers", x: there, y: there.map((i) => sequence[i]), marker: {size: dense ? 2 : 4, color: css("--soft")}, hoverinfo: "skip"},
        ],
        about: h.titles[shown],
        extra: {
          height: 420, bargap: 0.15,
          xaxis: {...ticks, range: [-0.5, length - 0.5], showgrid: false, zeroline: false},
          yaxis: {domain: [0, 0.44], type: "category", categoryorder: "array", categoryarray: [..."TGCA"], showgrid: false, zeroline: false, title: {text: "changed to"}},
          yaxis2: {domain: [0.54, 1], title: {text: "−mean effect"}},
        },
      };
    });
    picture.id = "heatmap";
    const pick = () => { shown = Number(select.value); picture.again(); };
    select.addEventListener("change", pick);
    filter.addEventListener("input", () => { list(); if (select.value !== "") pick(); });
  };

  const track = () => {
    const t = data.track;
    if (!t) return;
    const node = section("track", "Along the genome", `Largest and smallest effect in bins of ${whole(t.width)} base${t.width > 1 ? "s" : ""} (${whole(t.rows)} rows, all of them). Drag to zoom, double-click to see all; bins are joined as far as the screen needs.`);
    const bin = unpackWhole(t.bin), n = unpackWhole(t.n), high = unpack(t.high), low = unpack(t.low);
    const from = [0], start = [0];
    t.counts.forEach((c, i) => { from.push(from[i] + c); start.push(start[i] + t.lengths[i]); });
    const bar = make("div", node, undefined, "bar");
    const select = make("select", bar), about = make("span", bar, "", "count");
    select.id = "chromosome"; select.setAttribute("aria-label", "chromosome");
    if (t.names.length > 1) make("option", select, "all chromosomes").value = "-1";
    t.names.forEach((name, i) => { make("option", select, name).value = String(i); });
    let view = null;  // [low, high] while zoomed
    const bounds = () => {  // of one chromosome: as far as it has rows
      const c = Number(select.value);
      if (c < 0) return [0, start[t.names.length]];
      const first = bin[from[c]] * t.width, room = 0.02 * (t.lengths[c] - first) + t.width;
      return [Math.max(0, first - room), t.lengths[c] + room];
    };
    const picture = chart(node, () => {
      const only = Number(select.value), [low0, high0] = view || bounds(), step = (high0 - low0) / COLUMNS || 1;
      const tops = new Map();
      for (let c = only < 0 ? 0 : only; c < (only < 0 ? t.names.length : only + 1); c++) {
        const shift = only < 0 ? start[c] : 0;
        for (let i = from[c]; i < from[c + 1]; i++) {
          const x = shift + bin[i] * t.width + t.width / 2;
          if (x < low0 - t.width || x > high0 + t.width) continue;
          const key = step > t.width ? Math.floor(x / step) : i, seen = tops.get(key);
          if (seen) { seen.high = Math.max(seen.high, high[i]); seen.low = Math.min(seen.low, low[i]); seen.n += n[i]; seen.last = x; }
          else tops.set(key, {first: x, last: x, high: high[i], low: low[i], n: n[i], c});
        }
      }
      const points = [...tops.values()], width = Math.max(step, t.width);
      const where = (p) => { const shift = only < 0 ? start[p.c] : 0; return `${plain(t.names[p.c])}:${whole(Math.floor(p.first - shift - t.width / 2) + 1)}–${whole(Math.ceil(p.last - shift + t.width / 2))}, ${whole(p.n)} rows`; };
      const side = (key, colour) => ({
        type: "bar", x: points.map((p) => (p.first + p.last) / 2), y: points.map((p) => key === "high" ? Math.max(0, p.high) : Math.min(0, p.low)), width,
        marker: {color: css(colour), line: {width: 0}}, customdata: points.map(where), hovertemplate: "%{customdata}<br>%{y:.3f}<extra></extra>",
      });
      about.textContent = `${whole(points.length)} bars of ${whole(Math.round(width))} base${Math.round(width) > 1 ? "s" : ""}`;
      const axis = {range: [low0, high0], showgrid: false, zeroline: false};
      if (only < 0) Object.assign(axis, {tickmode: "array", tickvals: t.names.map((_, i) => (start[i] + start[i + 1]) / 2), ticktext: t.names.map(plain)});
      else axis.title = {text: `${plain(t.names[only])}, position`};
      return {
        traces: [side("high", "--up"), side("low", "--down")],
        extra: {xaxis: axis, yaxis: {title: {text: "effect"}, fixedrange: true}, barmode: "overlay", bargap: 0, height: 300, dragmode: "zoom",
          shapes: only < 0 ? start.slice(1, -1).map((x) => ({type: "line", x0: x, x1: x, yref: "paper", y0: 0, y1: 1, line: {color: css("--line"), width: 1}})) : []},
      };
    });
    picture.id = "genome";
    afterwards.push(() => picture.on("plotly_relayout", (change) => {
      if ("xaxis.range[0]" in change) view = [Number(change["xaxis.range[0]"]), Number(change["xaxis.range[1]"])];
      else if (change["xaxis.autorange"]) view = null;
      else return;
      picture.again();
    }));
    select.addEventListener("change", () => { view = null; picture.again(); });
  };

  for (const part of [head, facts, status, distributions, spread, floor, truth, top, heat, track]) part();
  for (const step of afterwards) step();
  document.documentElement.dataset.ready = "yes";
};
unpackLibrary().then(drawPage).catch((error) => {
  document.getElementById("page").textContent = `This page cannot be drawn (${error}); it needs a browser of 2023 or later.`;
});
