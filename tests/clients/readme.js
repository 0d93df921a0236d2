// The code that README shows, as it stands there.

import { readFile } from 'node:fs/promises';

/** The fenced block of a language in the section under a heading; there is just one. */
export async function readmeBlock(heading, language) {
  const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8');
  const section = readme.split(/^## /m).find((section) => section.startsWith(`${heading}\n`)) ?? '';
  const blocks = [...section.matchAll(/^```(\w+)\n([^]*?)^```$/gm)].filter(([, name]) => name === language);
  if (blocks.length !== 1) throw new Error(`${blocks.length} blocks of ${language} under “${heading}”`);
  return blocks[0][2];
}

/** `code` with each of `words` replaced, all of which it must hold. */
export function substitute(code, words) {
  for (const [from, to] of Object.entries(words)) {
    if (!code.includes(from)) throw new Error(`there is no ${from} in\n${code}`);
    code = code.replaceAll(from, to);
  }
  return code;
}
