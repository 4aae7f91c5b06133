@export()
@description('Where a resource is made, and what its name ends with.')
type Place = {
  location: string
  tags: { *: string }
  @minLength(13)
  @description('The same for the same subscription, environment and region, and another for any other.')
  token: string
}
