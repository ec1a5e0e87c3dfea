#!/bin/sh
# Verifies the tag of a release and prints the commit that it names. The tag must be annotated, carry its own name inside
# of the signature, be signed by a key that GitHub knows as the tagger's, and name a commit of the default branch.
#
#   .github/scripts/verify-tag.sh TAG
#
# Needs gh, with GH_TOKEN and GITHUB_REPOSITORY.
set -eu

tag=${1:?pass the tag}
repository=${GITHUB_REPOSITORY:?GitHub sets it}

reject() {
  echo "The tag $tag is rejected: $1" >&2
  exit 1
}

api() {
  gh api "repos/$repository$1" --jq "$2"
}

printf '%s\n' "$tag" | grep -Eqx 'v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?' ||
  reject "a release is named v and a version, such as v0.1.0."

reference=$(api "/git/ref/tags/$tag" '.object.type + " " + .object.sha')
case $reference in
"tag "*) ;;
*) reject "it is not annotated. Create it with git tag -s." ;;
esac

signed=$(api "/git/tags/${reference#tag }" \
  '"\(.tag) \(.object.type) \(.object.sha) \(.verification.verified) \(.verification.reason)"')
commit=$(echo "$signed" | cut -d ' ' -f 3)
case $signed in
"$tag commit $commit true "*) ;;
"$tag commit $commit "*) reject "its signature is not verified: ${signed##* }." ;;
"$tag "*) reject "it does not name a commit." ;;
*) reject "the signed name is ${signed%% *}." ;;
esac

branch=$(api "" .default_branch)
case $(api "/compare/$commit...$branch" .status) in
ahead | identical) ;;
*) reject "its commit $commit is not on the branch $branch." ;;
esac
echo "$commit"
