import { expect, test } from 'vitest'
import { modelByDeployment } from '../../src/model/by-deployment.ts'
import type { ImageModel, ModelAnswer } from '../../src/ports/model.ts'

test('a call goes to the deployment that it names, whose adapter is made at its first call and once', async () => {
  const made: string[] = []
  const calls: string[] = []
  const answer: ModelAnswer = {
    kind: 'images',
    images: [],
    usage: { inputTokens: 0, outputTokens: 0, inputTextTokens: 0, inputImageTokens: 0 },
    requestId: undefined,
    limitRpm: null,
  }
  const maker = (name: string) => (): ImageModel => {
    made.push(name)
    return {
      async generate({ deployment, request }) {
        calls.push(`${name}: ${deployment} ${request.prompt}`)
        return answer
      },
    }
  }
  const model = modelByDeployment(new Map(['a', 'b', 'c'].map((name) => [name, maker(name)])))
  expect(made).toEqual([])
  const ask = async (deployment: string, prompt: string) =>
    model.generate({ deployment, request: { prompt } })
  expect(await ask('b', 'one')).toBe(answer)
  await Promise.all([ask('b', 'two'), ask('a', 'three')])
  expect(made).toEqual(['b', 'a'])
  expect(calls).toEqual(['b: b one', 'b: b two', 'a: a three'])
  await expect(ask('d', 'four')).rejects.toThrow('deployment d, which is not configured')
})
