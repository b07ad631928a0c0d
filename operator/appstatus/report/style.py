"""How the page looks. No fonts, pictures or scripts: only what every browser has."""

STYLE = """
:root { color-scheme: light dark;
  --bg: #f4f6f8; --card: #ffffff; --ink: #17202b; --dim: #5d6978; --rule: #dde3ea;
  --bad: #c4283a; --tint: #fbe9eb; --warn: #8a5a00; --good: #197447; --line: #2b6cb8; --fill: #dbe8f7; }
@media (prefers-color-scheme: dark) { :root {
  --bg: #0f141a; --card: #181f28; --ink: #e5eaf0; --dim: #98a5b5; --rule: #2c3644;
  --bad: #ff7583; --tint: #3a2027; --warn: #e2b04a; --good: #58c98b; --line: #79b3f5; --fill: #1f3652; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue",
  "Liberation Sans", "DejaVu Sans", sans-serif; overflow-wrap: break-word; }
main { max-width: 1180px; margin: 0 auto; padding: 20px 14px; display: grid; gap: 16px; grid-template-columns: minmax(0, 1fr); }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 16px 18px; min-width: 0; }
h1 { font-size: 22px; line-height: 1.3; margin: 0 0 8px; }
h2 { font-size: 15px; margin: 0 0 12px; }
p { margin: 0 0 10px; }
.lead { font-size: 18px; line-height: 1.45; }
.dim, .since, footer { color: var(--dim); }
.health { display: inline-block; border-radius: 6px; padding: 1px 10px; font-weight: 600; border: 1px solid currentColor; }
.health.violated { color: var(--bad); background: var(--tint); }
.health.warning, .health.unknown { color: var(--warn); }
.health.healthy { color: var(--good); }
.todo { border-left: 4px solid var(--line); background: var(--fill); padding: 8px 12px; border-radius: 0 6px 6px 0; }
.todo b { margin-right: 6px; }
a { color: var(--line); }
.columns { display: flex; flex-wrap: wrap; gap: 16px; align-items: stretch; }
.columns > .card { flex: 1 1 380px; }
.columns > .way { flex: 0 1 auto; max-width: 100%; }
.scroll { overflow-x: auto; }
.charts { display: grid; gap: 18px 24px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); }
.charts.big { grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); margin-top: 14px; }
.charts.big svg { height: 110px; }
.fact p { margin: 0; font-size: 13px; }
.fact .name { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 10px; }
.shift { white-space: nowrap; }
.plot { position: relative; padding: 18px 0 16px; font-size: 11px; color: var(--dim); line-height: 16px; }
.plot svg { display: block; width: 100%; height: 72px; border-bottom: 1px solid var(--rule); }
.plot span { position: absolute; white-space: nowrap; }
.plot .top { top: 0; left: 0; }
.plot .at { top: 0; color: var(--bad); padding: 0 3px; }
.plot .from { bottom: 0; left: 0; }
.plot .to { bottom: 0; right: 0; }
.line { fill: none; stroke: var(--line); stroke-width: 1.6; vector-effect: non-scaling-stroke; stroke-linejoin: round; }
.area { fill: var(--fill); }
.during { fill: var(--tint); }
.onset { stroke: var(--bad); stroke-width: 1.4; vector-effect: non-scaling-stroke; stroke-dasharray: 4 3; }
.graph { display: block; max-width: 100%; height: auto; margin: 0 auto; }
.edge { fill: none; stroke: var(--line); opacity: .75; }
.dashed { stroke-dasharray: 6 5; }
.tag { fill: var(--card); stroke: var(--rule); }
.node { fill: var(--bg); stroke: var(--dim); stroke-width: 1.2; }
.node.minor { stroke: var(--bad); }
.node.cause { fill: var(--tint); stroke: var(--bad); stroke-width: 2; }
.graph text { text-anchor: middle; fill: var(--ink); font-size: 11.5px; }
.graph .name { font-weight: 600; font-size: 13px; }
.graph .fact { fill: var(--dim); }
.graph .why { fill: var(--bad); }
.graph .share { font-weight: 600; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th { text-align: left; font-weight: 600; color: var(--dim); font-size: 12px; }
th, td { padding: 6px 12px 6px 0; border-bottom: 1px solid var(--rule); vertical-align: top; }
tr:last-child td { border-bottom: 0; }
.bar { width: 90px; height: 8px; border-radius: 4px; background: var(--rule); margin: 7px 0 2px; }
.bar i { display: block; height: 8px; border-radius: 4px; background: var(--bad); }
.timeline { list-style: none; margin: 0; padding: 0; font-size: 14px; }
.timeline li { display: flex; gap: 14px; padding: 4px 0 4px 12px; border-left: 3px solid var(--rule); }
.timeline li.begin { border-color: var(--bad); color: var(--bad); }
.timeline li.aside { color: var(--dim); }
.timeline time { flex: none; font-variant-numeric: tabular-nums; }
.timeline span { min-width: 0; }
summary { cursor: pointer; font-weight: 600; }
details[open] summary { margin-bottom: 12px; }
.note { margin: 8px 0 0; font-size: 13px; }
footer { font-size: 12px; }
@media (max-width: 560px) { main { padding: 10px 8px; } .card { padding: 12px; } .bar { width: 56px; } .lead { font-size: 16px; }
  .columns > .way { flex: 1 1 100%; }
  .wide thead { display: none; } .wide tr, .wide td { display: block; } .wide td { border: 0; padding: 0 0 4px; }
  .wide td::before { content: attr(data-name) ": "; color: var(--dim); } .wide td:empty { display: none; }
  .wide tr { border-bottom: 1px solid var(--rule); padding: 8px 0; } .wide tr:last-child { border-bottom: 0; } }
"""
