// WCAG 2.2, 1.4.3: contrast of every visible text against what lies behind it, from computed styles. Runs in the page.

export const lowContrast = () => {
  const numbers = (text) => (text.match(/[\d.]+/g) ?? []).map(Number);
  const colour = (text) => { const [r = 0, g = 0, b = 0, a = 1] = numbers(text); return { r, g, b, a }; };
  const over = (top, below) => ({ r: top.r * top.a + below.r * (1 - top.a), g: top.g * top.a + below.g * (1 - top.a), b: top.b * top.a + below.b * (1 - top.a), a: 1 });
  const linear = (value) => { const s = value / 255; return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4; };
  const light = ({ r, g, b }) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const canvas = matchMedia('(prefers-color-scheme: dark)').matches ? { r: 18, g: 18, b: 18, a: 1 } : { r: 255, g: 255, b: 255, a: 1 };
  const behind = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(colour(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), canvas);
  };
  const found = [];
  let seen = 0;
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = texts.nextNode(); node; node = texts.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || element.closest('.unseen, script, style, option, :disabled')) continue;
    if (!element.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
    const style = getComputedStyle(element);
    const back = behind(element);
    const [a, b] = [light(over(colour(style.color), back)), light(back)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const ratio = (a + 0.05) / (b + 0.05);
    seen += 1;
    if (ratio < (large ? 3 : 4.5)) found.push(`${ratio.toFixed(2)} for "${node.data.trim().slice(0, 40)}" (${style.color} on ${Math.round(back.r)},${Math.round(back.g)},${Math.round(back.b)})`);
  }
  return { seen, found };
};
