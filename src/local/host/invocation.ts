import type { FunctionApp } from './core-api.ts'
import type { CoreInvocationContext, TypedData } from './programming-model.ts'
import type { InvocationInput } from './worker/worker-messages.ts'

/** Runs a function of the app once. Throws what the function, or a hook around it, threw. */
type InvokeFunction = (invocation: {
  readonly invocationId: string
  readonly functionName: string
  readonly input: InvocationInput
}) => Promise<TypedData | undefined>

/**
 * The order of one invocation, as in Azure's Node worker: arguments from the library, preInvocation hooks, the
 * function, postInvocation hooks (which may replace result and error), and the response from the library.
 */
export function createInvoke(app: FunctionApp): InvokeFunction {
  return async ({ invocationId, functionName, input: { data, triggerMetadata = {} } }) => {
    const called = app.functions.get(functionName)
    if (called === undefined) throw new Error(`there is no function "${functionName}"`)
    let invocationContext: unknown
    const core: CoreInvocationContext = {
      invocationId,
      request: {
        invocationId,
        functionId: called.name,
        inputData: [{ name: called.trigger.bindingName, data }],
        triggerMetadata,
      },
      metadata: called.metadata,
      state: undefined,
      log: (level, category, message) =>
        app.log({ source: called.name, level, category, message, invocationContext }),
    }
    const invocation = app.model().getInvocationModel(core)
    const { context, inputs } = await invocation.getArguments()
    invocationContext = context

    const shared = { hookData: {}, appHookData: app.appHookData, invocationContext: context }
    const before = { ...shared, inputs, functionCallback: called.callback }
    core.state = 'preInvocationHooks'
    await app.runHooks('preInvocation', before)

    const after: { inputs: unknown[]; result: unknown; error: unknown } = {
      ...shared,
      inputs: before.inputs,
      result: null,
      error: null,
    }
    core.state = 'invocation'
    try {
      after.result = await invocation.invokeFunction(context, before.inputs, before.functionCallback)
    } catch (error) {
      after.error = error
    }
    core.state = 'postInvocationHooks'
    await app.runHooks('postInvocation', after)
    core.state = undefined

    // Whatever was thrown counts, unless a hook has put null or undefined in its place.
    if (after.error !== null && after.error !== undefined) throw after.error
    const response = await invocation.getResponse(context, after.result)
    return response.returnValue ?? undefined
  }
}
