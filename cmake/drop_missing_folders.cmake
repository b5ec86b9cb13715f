# SPDX-License-Identifier: Apache-2.0
# ROS from the Python registry exports include folders of the machine its wheels were built on.
# CMake refuses a target with a folder that is not there; such folders are dropped. To be called after
# the packages have been found and the messages declared.
macro(uwm_drop_missing_folders)
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
endmacro()
