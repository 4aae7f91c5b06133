import { z } from 'zod'

export type FunctionCallback = (...args: readonly unknown[]) => unknown

/** A function as the host knows it: its name, and its one trigger in a form that the listeners can use. */
export type LocalFunction = {
  readonly name: string
  readonly trigger: Trigger
}

/** A function as the worker has it. */
export type RegisteredFunction = LocalFunction & {
  readonly callback: FunctionCallback
  /** As the library gave it; its invocation model wants it back. */
  readonly metadata: FunctionMetadata
}

type Trigger = QueueTrigger | HttpTrigger | TimerTrigger

/** The trigger's `connection` is passed over: the local host has one storage account. */
export type QueueTrigger = {
  readonly kind: 'queue'
  readonly bindingName: string
  readonly queueName: string
}

export type HttpTrigger = {
  readonly kind: 'http'
  readonly bindingName: string
  readonly methods: readonly string[]
  /** In Azure's syntax, without the route prefix. */
  readonly route: string
}

export type TimerTrigger = {
  readonly kind: 'timer'
  readonly bindingName: string
  readonly schedule: string
  readonly runOnStartup: boolean
  readonly useMonitor: boolean
}

export type FunctionMetadata = z.infer<typeof metadataShape>

/** What a trigger that names no method answers to. */
const allMethods = ['DELETE', 'GET', 'HEAD', 'OPTIONS', 'PATCH', 'POST', 'PUT']

/** Reads what `registerFunction` is given. Throws for a trigger or an output that the local host does not know. */
export function readFunction(metadata: unknown, callback: FunctionCallback): RegisteredFunction {
  const read = metadataShape.parse(metadata)
  const others = Object.entries(read.bindings).filter(([, { type }]) => !isTrigger(type) && type !== 'http')
  if (others.length > 0) {
    const types = others.map(([, { type }]) => type).join(', ')
    throw new Error(
      `function "${read.name}" binds ${types}; the local host knows no inputs and outputs but http`,
    )
  }
  return { name: read.name, trigger: readTrigger(read), callback, metadata: read }
}

function readTrigger({ name, bindings }: FunctionMetadata): Trigger {
  const found = Object.entries(bindings).find(([, { type }]) => isTrigger(type))
  if (found === undefined) throw new Error(`function "${name}" has no trigger`)
  const [bindingName, binding] = found
  switch (binding.type) {
    case 'queueTrigger':
      return { kind: 'queue', bindingName, ...queueBinding.parse(binding) }
    case 'httpTrigger': {
      const { methods = allMethods, route } = httpBinding.parse(binding)
      // As on Azure, a function without a route, or with an empty one, is found under its name.
      return { kind: 'http', bindingName, methods, route: route === undefined || route === '' ? name : route }
    }
    case 'timerTrigger':
      return { kind: 'timer', bindingName, ...timerBinding.parse(binding) }
    default:
      throw new Error(
        `function "${name}" has a ${binding.type}; the local host knows queueTrigger, httpTrigger and timerTrigger`,
      )
  }
}

function isTrigger(type: string): boolean {
  return /trigger$/i.test(type)
}

const metadataShape = z.looseObject({
  name: z.string(),
  bindings: z.record(z.string(), z.looseObject({ type: z.string(), direction: z.string() })),
})

const queueBinding = z.object({ queueName: z.string() })

const httpBinding = z.object({
  methods: z.array(z.string().toUpperCase()).optional(),
  route: z.string().optional(),
})

const timerBinding = z.object({
  schedule: z.string(),
  runOnStartup: z.boolean().default(false),
  useMonitor: z.boolean().default(true),
})
