"""Look and behaviour of the report page: no fonts, scripts or pictures from elsewhere."""

__all__ = ["CSS", "SCRIPT"]

CSS = """
:root { --ink: #1b2430; --soft: #5c6b7a; --line: #d9e0e7; --paper: #ffffff; --wash: #f4f6f8; --accent: #0b6e8f; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--wash); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 24px 28px 60px; }
h1 { font-size: 25px; margin: 0 0 2px; letter-spacing: -.01em; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 0 0 4px; }
h3 { font-size: 14px; margin: 18px 0 6px; color: var(--soft); font-weight: 600; }
p { margin: 4px 0 12px; max-width: 78ch; }
.soft { color: var(--soft); }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 10px;
  padding: 18px 20px; margin-top: 18px; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 10px; margin-top: 16px; }
.fact { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; padding: 10px 14px; }
.fact b { display: block; font-size: 21px; font-variant-numeric: tabular-nums; }
.fact span { color: var(--soft); font-size: 13px; }
.warn { background: #fff6e0; border-color: #e5bd5b; }
.warn ul { margin: 4px 0 0; padding-left: 20px; }
.bad b { color: #a8201a; } .fair b { color: #8a6100; } .good b { color: #14693a; }
.row { display: grid; gap: 14px; margin: 0 0 14px; align-items: start; }
.two { grid-template-columns: 1fr 1fr; } .three { grid-template-columns: repeat(3, 1fr); }
figure { margin: 0; }
figure svg { display: block; width: 100%; height: auto; max-height: 78vh; background: #000; border-radius: 6px; }
figcaption { color: var(--soft); font-size: 13px; padding-top: 3px; }
.roi { fill-opacity: .025; fill-rule: evenodd; stroke-width: 1.6; vector-effect: non-scaling-stroke; cursor: pointer; }
.no { font: 700 2.7px system-ui, sans-serif; text-anchor: middle; dominant-baseline: central; paint-order: stroke;
  stroke: #000; stroke-width: .7px; pointer-events: none; }
.side { font: 600 3px system-ui, sans-serif; text-anchor: middle; dominant-baseline: central; fill: #ffe9a8;
  paint-order: stroke; stroke: #000; stroke-width: .6px; }
.mesh { fill: none; stroke: #ffd34d; stroke-width: 1; stroke-opacity: .85; vector-effect: non-scaling-stroke; }
.dim .roi { stroke-opacity: .16; fill-opacity: 0; } .dim .no { opacity: .12; }
.dim .roi.on { stroke-opacity: 1; stroke-width: 3; fill-opacity: .3; } .dim .no.on { opacity: 1; }
tr.on td { background: #e6f3f7; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 13.5px; }
th, td { text-align: right; padding: 4px 9px; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 600; position: sticky; top: 0; background: var(--paper); }
th:first-child, td:first-child, .left { text-align: left !important; }
td.wrap { white-space: normal; overflow-wrap: anywhere; }
.scroll { overflow: auto; max-height: 560px; }
.chip { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 7px; }
.tabs > input { position: absolute; opacity: 0; }
.tabs > label { display: inline-block; padding: 5px 13px; margin: 0 5px 12px 0; border: 1px solid var(--line);
  border-radius: 20px; cursor: pointer; font-size: 13.5px; }
.tabs > input:checked + label { background: var(--accent); border-color: var(--accent); color: #fff; }
.tabs > input:focus-visible + label { outline: 2px solid var(--ink); }
.tabs > .tab { display: none; }
.bar { display: flex; align-items: center; gap: 10px; margin: 2px 0 12px; font-size: 13px;
  color: var(--soft); flex-wrap: wrap; }
.bar svg { width: 300px; height: 34px; }
.bar text { font: 11px system-ui, sans-serif; fill: var(--soft); text-anchor: middle; }
pre { background: var(--wash); padding: 12px; border-radius: 6px; overflow: auto; font-size: 12.5px; }
summary { cursor: pointer; color: var(--accent); }
@media (max-width: 700px) { .two, .three { grid-template-columns: 1fr; } main { padding: 14px; } }
@media print { body { background: #fff; } section { break-inside: avoid-page; } .tabs > label { display: none; }
  .tabs > .tab { display: block !important; } .scroll { max-height: none; } }
""" + "".join(f"#t{i}:checked ~ .tab.t{i} {{ display: block; }}\n" for i in range(8))

SCRIPT = """
(() => {
  const all = () => document.querySelectorAll('[data-pair]');
  const show = pair => {
    document.body.classList.toggle('dim', pair !== null);
    all().forEach(e => e.classList.toggle('on', e.dataset.pair === pair));
  };
  let held = null;
  document.addEventListener('mouseover', event => {
    const hit = event.target.closest('[data-pair]');
    show(hit ? hit.dataset.pair : held);
  });
  document.addEventListener('click', event => {
    const hit = event.target.closest('[data-pair]');
    held = hit && held !== hit.dataset.pair ? hit.dataset.pair : null;
    show(held);
  });
})();
"""
