import Module, { createRequire } from 'node:module'

/**
 * What loading costs: each argument is a file or a package, loaded one after the other, a .cjs as Azure's worker does it
 * (`require`), all else with `import()`. Says the CPU ms of each. Nothing of ours is loaded before, zod neither.
 */
const require = createRequire(import.meta.url)

// oxlint-disable-next-line typescript/unbound-method -- the proxy hands `this` on
const original = Module.prototype.require
Module.prototype.require = new Proxy(original, {
  apply: (target, self, args: [id: string]) =>
    args[0] === '@azure/functions-core' ? core : Reflect.apply(target, self, args),
})

class Disposable {
  dispose(): void {}
}

let model: unknown

/** As much of the host as a file wants that only registers functions. */
const core = {
  version: '3.12.0',
  registerFunction: () => new Disposable(),
  registerHook: () => new Disposable(),
  setProgrammingModel: (next: unknown) => {
    model = next
  },
  getProgrammingModel: () => model,
  log() {},
  Disposable,
}

const took: number[] = []
for (const what of process.argv.slice(2)) {
  const before = process.cpuUsage()
  if (what.endsWith('.cjs')) require(what)
  else await import(what)
  const { user, system } = process.cpuUsage(before)
  took.push((user + system) / 1_000)
}
// It is ended by whoever started it.
process.channel?.ref()
console.log(`load: ${JSON.stringify(took)}`)
