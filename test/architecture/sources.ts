import { globSync, readFileSync } from 'node:fs'
import { join, posix } from 'node:path'

export const rootDir = join(import.meta.dirname, '../..')

export type Source = {
  /** From `src`, with slashes: `core/jobs/job.ts`. */
  readonly path: string
  /** The folder below `src`, or the file's own name without its ending: `core`, `ports`. */
  readonly room: string
  readonly text: string
  /** The text without comments and without what stands in quotes; code inside templates is kept. */
  readonly code: string
  readonly imports: readonly Import[]
}

export type Import = {
  readonly from: string
  /** Path from `src` of what is imported; undefined for packages. */
  readonly path: string | undefined
  /** What stands between `import` and `from`; empty when only the file is run. */
  readonly clause: string
  readonly isTypeOnly: boolean
}

/** A comment, a text in quotes, a template, or a regular expression after a sign that cannot end a value. */
const token =
  /\/\*.*?\*\/|\/\/[^\n]*|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`|(?<=[(,=:[!&|?{};]\s*)\/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[*])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])*\//gs

export const sources: readonly Source[] = globSync('**/*.ts', { cwd: join(rootDir, 'src') })
  .map((path) => path.replaceAll('\\', '/'))
  .toSorted()
  .map((path) => {
    const text = readFileSync(join(rootDir, 'src', path), 'utf8')
    return { path, room: roomOf(path), text, code: codeOf(text), imports: importsOf(path, text) }
  })

export function roomOf(path: string): string {
  return (path.split('/')[0] ?? '').replace(/\.ts$/, '')
}

export function importsOf(path: string, text: string): readonly Import[] {
  const plain = withoutComments(text)
  const statements = plain.matchAll(/^(?:import|export)\s+(?=[\w{*])([^'";]*?)\s*\bfrom\s+['"]([^'"]+)['"]/gm)
  const bare = plain.matchAll(/(?:^import\s+|\bimport\(\s*)['"]([^'"]+)['"]/gm)
  return [
    ...[...statements].map(([, clause = '', from = '']) => ({ clause, from })),
    ...[...bare].map(([, from = '']) => ({ clause: '', from })),
  ].map(({ clause, from }) => ({
    from,
    path: from.startsWith('.') ? posix.join(posix.dirname(path), from) : undefined,
    clause,
    isTypeOnly: /^type\s/.test(clause) || isOfTypes(clause),
  }))
}

/** `{ type A, type B }` and nothing else. */
function isOfTypes(clause: string): boolean {
  const names = /^\{(.*)\}$/s.exec(clause)?.[1]?.split(',') ?? ['']
  const given = names.map((name) => name.trim()).filter((name) => name !== '')
  return given.length > 0 && given.every((name) => name.startsWith('type '))
}

function withoutComments(text: string): string {
  return text.replaceAll(token, (found) => (/^\/[*/]/.test(found) ? '' : found))
}

export function codeOf(text: string): string {
  return text.replaceAll(token, (found) => {
    if (found.startsWith('`'))
      return [...found.matchAll(/\$\{([^{}]*)\}/g)].map(([, code]) => `(${code})`).join('+')
    return found.startsWith('/') ? '' : `''`
  })
}

/** Every line that the pattern finds, for a person: `core/jobs/job.ts: Date.now()`. */
export function findings(pattern: RegExp, files: readonly Source[]): readonly string[] {
  return files.flatMap(({ path, code }) => {
    const hits = code.matchAll(new RegExp(pattern, 'g'))
    return [...hits].map(([hit]) => `${path}: ${hit.trim()}`)
  })
}
