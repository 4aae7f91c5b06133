import { once } from 'node:events'
import { startDeployment, type DeploymentOptions } from '../src/local/deployment/deployment.ts'

/** Simulated deployments in one process, each with options of its own: a JSON list in the first argument. */
const options: readonly DeploymentOptions[] = JSON.parse(process.argv[2] ?? '[]')
const deployments = await Promise.all(options.map(async (one) => startDeployment(one)))
console.log(`deployments: ready ${JSON.stringify(deployments.map(({ endpoint }) => endpoint))}`)
await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')])
process.exit()
