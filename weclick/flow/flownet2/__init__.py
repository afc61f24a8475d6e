"""FlowNet2 and its parts."""
