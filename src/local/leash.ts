/**
 * Loaded into every process that `startChild` starts (`node --import`). It ends the process when the one that started it
 * has died, and answers the message `memory` with what the process holds after a garbage collection (`--expose-gc`).
 */
process.on('disconnect', () => process.exit(1))
process.on('message', (message) => {
  if (message !== 'memory') return
  globalThis.gc?.()
  process.send?.(process.memoryUsage())
})
// Listening must not keep a process alive that has come to its end.
process.channel?.unref()
