/**
 * What the step comes to, or `cut` when the signal is aborted first; nobody hears then how the step ends. One listener a
 * step, taken away with it: a promise that all steps raced against would hold on to all they gave.
 */
export async function unless<T>(cut: AbortSignal, step: Promise<T>): Promise<T | 'cut'> {
  return new Promise((resolve, reject) => {
    const stop = (): void => resolve('cut')
    if (cut.aborted) stop()
    cut.addEventListener('abort', stop, { once: true })
    step.then(resolve, reject).finally(() => cut.removeEventListener('abort', stop))
  })
}
