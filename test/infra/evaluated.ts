import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import type { Compiler } from './compiler.ts'
import type { Parameters } from './sets.ts'

const schema = z.object({
  predictedResources: z.array(
    z.looseObject({
      id: z.string(),
      type: z.string(),
      name: z.string(),
      condition: z.string().optional(),
      properties: z.record(z.string(), z.unknown()).default({}),
    }),
  ),
  diagnostics: z.array(z.unknown()),
  outputs: z.record(z.string(), z.unknown()).default({}),
})

/** What a deployment would make, as far as it can be known without Azure: the rest stays an expression, in brackets. */
export type Evaluated = z.infer<typeof schema>

export type Evaluate = (parameters: Parameters) => Promise<Evaluated | { readonly refused: string }>

/**
 * Evaluates copies of the Bicep. In one of them nothing is secure, because the values of secure parameters are hidden from
 * an evaluation: so every condition is decided, and a secret is seen wherever it goes.
 */
export async function withEvaluators<Result>(
  compiler: Compiler,
  infraDir: string,
  use: (evaluate: { readonly open: Evaluate; readonly asItIs: Evaluate }) => Promise<Result>,
): Promise<Result> {
  const dir = await mkdtemp(join(tmpdir(), 'darkroom-infra-'))
  try {
    const asItIs = join(dir, 'as-it-is')
    const open = join(dir, 'open')
    for (const copy of [asItIs, open]) await cp(infraDir, copy, { recursive: true })
    // The linter is right to call that a fault.
    await writeFile(join(open, 'bicepconfig.json'), '{ "analyzers": { "core": { "enabled": false } } }')
    for (const path of await bicepFiles(open)) {
      await writeFile(path, (await readFile(path, 'utf8')).replaceAll(/^\s*@secure\(\)\r?\n/gm, ''))
    }
    return await use({ open: evaluatorIn(open, compiler), asItIs: evaluatorIn(asItIs, compiler) })
  } finally {
    await rm(dir, { recursive: true })
  }
}

export async function bicepFiles(dir: string): Promise<readonly string[]> {
  const names = await readdir(dir, { recursive: true })
  return names.filter((name) => name.endsWith('.bicep')).map((name) => join(dir, name))
}

function evaluatorIn(dir: string, compiler: Compiler): Evaluate {
  let last = 0
  return async (parameters) => {
    const path = join(dir, `set-${(last += 1)}.bicepparam`)
    const lines = Object.entries(parameters).map(([parameter, value]) => {
      const json = JSON.stringify(value).replaceAll(/['\\$]/g, String.raw`\$&`)
      // As azd hands it over: a value of another type is a matter of the deployment, not of this file.
      return `param ${parameter} = any(json('${json}'))`
    })
    await writeFile(path, ["using 'main.bicep'", ...lines, ''].join('\n'))
    const made = await compiler.snapshot(path)
    return 'refused' in made ? made : schema.parse(JSON.parse(made.text))
  }
}
