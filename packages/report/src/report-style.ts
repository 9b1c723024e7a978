/** The report's style sheet: system fonts, light and dark, narrow screens, paper. */
export const reportStyle = `
:root{color-scheme:light dark;--ink:#1c2330;--soft:#5b6675;--line:#d9dee6;--page:#f5f7fa;--card:#fff;--accent:#0072b2;--warn:#fff6e0;--warn-ink:#6b4a00}
@media screen and (prefers-color-scheme:dark){:root{--ink:#e7ecf3;--soft:#9aa7b8;--line:#333d4b;--page:#10151d;--card:#181f2a;--accent:#56b4e9;--warn:#33290f;--warn-ink:#f0d48a}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:1180px;margin:0 auto;padding:40px 24px 64px}
header p{color:var(--soft);margin:4px 0 0}
h1{font-size:27px;line-height:1.2;margin:0;letter-spacing:-.01em}
h2{font-size:18px;margin:0 0 4px}
h3{font-size:14px;margin:18px 0 6px}
section{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:22px 24px;margin-top:20px}
section>p{color:var(--soft);margin:0 0 14px;max-width:75ch}
.notes{background:var(--warn);border-color:transparent;color:var(--warn-ink);padding:14px 20px}
.notes ul{margin:0;padding-left:18px}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(215px,1fr));gap:14px;margin-top:22px}
.card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:16px 18px}
.card .what{color:var(--soft);font-size:13px}
.card .big{font-size:29px;font-weight:650;letter-spacing:-.02em;line-height:1.25;font-variant-numeric:tabular-nums}
.card .big small{font-size:13px;font-weight:400;color:var(--soft);letter-spacing:0}
.card dl{display:grid;grid-template-columns:1fr auto;gap:2px 12px;margin:8px 0 0;font-size:13px}
.card dt{color:var(--soft)}
.card dd{margin:0;text-align:right;font-variant-numeric:tabular-nums}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
th,td{padding:8px 9px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th{font-weight:600;color:var(--soft);font-size:12.5px;vertical-align:bottom}
th:first-child,td:first-child{text-align:left;padding-left:0}
table.words th:nth-child(-n+4),table.words td:nth-child(-n+4){text-align:left}
tbody tr:last-child td,tbody tr:last-child th{border-bottom:0}
tr.control td,tr.control th{color:var(--soft)}
tr.control th{padding-left:18px;font-weight:400}
tbody th{color:var(--ink);font-size:14px}
tbody th small{display:block;color:var(--soft);font-weight:400;font-size:12px}
tr.dense td,tr.dense th{border-bottom:2px solid var(--line)}
.strip{display:inline-flex;gap:1.5px;vertical-align:middle}
.strip i{width:5px;height:13px;border-radius:1px;background:var(--accent)}
.strip i.gone{background:none;box-shadow:inset 0 0 0 1px var(--soft);opacity:.55}
.figures{display:flex;flex-wrap:wrap;gap:20px 28px;align-items:flex-start}
.figures>svg{flex:1 1 440px;min-width:0;max-width:512px}
.figures.small>svg{flex:1 1 300px;max-width:344px}
svg{max-width:100%;height:auto;display:block}
.plans svg{margin-top:14px}
.facts{display:grid;grid-template-columns:minmax(160px,auto) 1fr;gap:3px 20px;margin:0;font-size:13px}
.facts dt{color:var(--soft)}
.facts dd{margin:0;overflow-wrap:anywhere}
.facts code{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
details summary{cursor:pointer;color:var(--accent);font-size:14px}
details table{font-size:11px;margin-top:10px}
details th,details td{padding:2px 5px}
.meaning{font-size:13.5px;color:var(--soft)}
.meaning b{color:var(--ink);font-weight:600}
@media print{@page{margin:12mm}body{background:#fff;font-size:9.5pt}main{max-width:none;padding:0}section,.card{break-inside:avoid;border-color:#ccc}section{padding:14px 16px;margin-top:12px}section:has(.scroll){break-inside:auto}svg,tr{break-inside:avoid}.scroll{overflow:visible}table{font-size:8pt}th,td{padding:4px 5px}th{white-space:normal;font-size:8pt}tbody th{font-size:8.5pt}.strip{gap:1px}.strip i{width:3px;height:9px;print-color-adjust:exact;-webkit-print-color-adjust:exact}.cards{grid-template-columns:repeat(4,1fr);gap:8px}.card{padding:10px}.card .big{font-size:17pt}.card .big small,.card .what,.card dl{font-size:7.5pt}.figures{gap:10px}.figures>svg{flex:1 1 300px;max-width:48%}.plans svg{max-width:85%}details:not([open]){display:none}}
`;
