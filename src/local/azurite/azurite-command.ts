import { once } from 'node:events'
import { startAzurite } from './azurite.ts'

/** Azurite in a process of its own, its data in memory. */
const azurite = await startAzurite({})
console.log(`azurite: ready ${azurite.connectionString}`)
await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')])
process.exit()
