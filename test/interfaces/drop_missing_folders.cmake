# SPDX-License-Identifier: Apache-2.0
# As in the CMakeLists.txt of uwm_ros: ROS from the Python registry exports include folders of the
# machine its wheels were built on, and CMake refuses a target with a folder that is not there.
get_property(targets DIRECTORY PROPERTY IMPORTED_TARGETS)
foreach(target ${targets})
  get_target_property(folders ${target} INTERFACE_INCLUDE_DIRECTORIES)
  if(folders)
    set(present ${folders})
    foreach(folder ${folders})
      if(IS_ABSOLUTE "${folder}" AND NOT EXISTS "${folder}")
        list(REMOVE_ITEM present "${folder}")
      endif()
    endforeach()
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${present}")
  endif()
endforeach()
