// Small tools for the page. Text always goes in as text nodes, never as markup.

export const byId = (id) => document.getElementById(id);

// el makes an element; props are attributes, except that on… are listeners and `class` is a class name.
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (value != null && value !== false) node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

// setText writes only where something changed, so that live regions speak once and layout rests.
export function setText(node, text) {
  if (node.textContent !== String(text)) node.textContent = text;
}

// perFrame returns a function that runs fn at most once before the next paint, however often it is called.
export function perFrame(fn) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      fn();
    });
  };
}

export function clock(date = new Date()) {
  const pad = (n, width) => String(n).padStart(width, '0');
  return `${pad(date.getHours(), 2)}:${pad(date.getMinutes(), 2)}:${pad(date.getSeconds(), 2)}.${pad(date.getMilliseconds(), 3)}`;
}
