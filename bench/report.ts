/** One part's findings, as they are printed and written to results.md. */
export type Report = {
  readonly title: string
  /** What was done, in a sentence or two. */
  readonly method: string
  readonly tables: readonly Table[]
  readonly gates: readonly Gate[]
  /** Warnings and errors that the processes printed, and whatever else the reader should know. */
  readonly remarks: readonly string[]
}

export type Table = {
  readonly title?: string
  readonly head: readonly string[]
  readonly rows: readonly (readonly string[])[]
}

export type Gate = {
  readonly name: string
  readonly found: string
  readonly wanted: string
  readonly isPassed: boolean
}

/** Markdown whose columns also line up on a terminal. */
export function markdownOf(report: Report): string {
  const { title, method, tables, gates, remarks } = report
  const gateTable: Table = {
    head: ['gate', 'found', 'wanted', ''],
    rows: gates.map(({ name, found, wanted, isPassed }) => [
      name,
      // What broke may tell a whole story; a cell is a line.
      found.split('\n')[0] ?? '',
      wanted,
      isPassed ? 'pass' : 'FAIL',
    ]),
  }
  const blocks = [
    `## ${title}`,
    method,
    ...tables.map(tableText),
    ...(gates.length === 0 ? [] : [tableText(gateTable)]),
    ...(remarks.length === 0 ? [] : [remarks.map((remark) => `- ${remark}`).join('\n')]),
  ]
  return `${blocks.join('\n\n')}\n`
}

function tableText({ title, head, rows }: Table): string {
  const widths = head.map((_, column) =>
    Math.max(...[head, ...rows].map((row) => (row[column] ?? '').length), 3),
  )
  const isNumber = head.map(
    (_, column) => rows.length > 0 && rows.every((row) => /^([-~<]?[\d.,]|$)/.test(row[column] ?? '')),
  )
  const line = (cells: readonly string[]): string =>
    `| ${widths.map((width, column) => pad(cells[column] ?? '', width, isNumber[column] === true)).join(' | ')} |`
  const rule = widths.map((width, column) =>
    isNumber[column] === true ? `${'-'.repeat(width - 1)}:` : '-'.repeat(width),
  )
  const heading = title === undefined ? [] : [`### ${title}`, '']
  return [...heading, line(head), line(rule), ...rows.map(line)].join('\n')
}

function pad(text: string, width: number, isNumber: boolean): string {
  return isNumber ? text.padStart(width) : text.padEnd(width)
}

export function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`
}

export function decimal(value: number, digits = 1): string {
  return value.toFixed(digits)
}

/** The value below which this share of the values lies. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN
}
